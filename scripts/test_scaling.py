"""Tests of scaling.py, scaling_work.py and scaling_runs.py: closed forms of the simulation, sums over shapes."""

import json
import math
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import scaling as sc  # noqa: E402
import scaling_runs as runs  # noqa: E402
import scaling_work as work  # noqa: E402

LINK = sc.Link(1e9, 1e-3)
STAGE = sc.Stage(1.0, 2.0, 0.25, (4e8, 4e8, 4e8, 4e8))
# Two steps of the fake score, one of the student.
STAGES = (STAGE._replace(buckets=(1e8,)),) * 2 + (STAGE,)


def computed(stages: tuple) -> float:
    return sum(sum(stage[:3]) for stage in stages)


class LinkTest(unittest.TestCase):
    def test_a_ring(self):
        self.assertAlmostEqual(LINK.all_reduce(1e9, 4), 2 * 3 / 4 + 6e-3)
        self.assertAlmostEqual(LINK.all_gather(1e9, 4), 3 / 4 + 3e-3)
        self.assertEqual((LINK.all_reduce(1e9, 1), LINK.all_gather(1e9, 1)), (0.0, 0.0))

    def test_nodes(self):
        link = sc.Link(1e9, 0.0, sc.Link(1e8, 0.0), node=4)
        self.assertEqual(link.all_reduce(1e9, 4), LINK._replace(latency=0.0).all_reduce(1e9, 4))
        # Two nodes: a ring of four in each, and each quarter by a ring of two between them.
        self.assertAlmostEqual(link.all_reduce(1e9, 8), 2 * 3 / 4 + 2 * 1 / 2 * 2.5e8 / 1e8)
        self.assertAlmostEqual(link.all_gather(1e9, 8), 3 / 4 + 1 / 2 * 2.5e8 / 1e8)


class SimulationTest(unittest.TestCase):
    def test_one_process_takes_the_sum_of_its_phases(self):
        for overlap in (False, True):
            found = sc.simulate(sc.Plan(STAGES, 1, LINK, updates=3, overlap=overlap, base=1e9))
            self.assertAlmostEqual(found.total, 3 * computed(STAGES))
            self.assertEqual((len(found.updates), found.exchange), (3, 0.0))
            self.assertAlmostEqual(found.compute, 3 * computed(STAGES))

    def test_without_computation_it_is_the_ring(self):
        stages = (sc.Stage(0.0, 0.0, 0.0, STAGE.buckets),)
        for count in (2, 3, 8):
            # Two exchanges of nearly nothing begin and end an update.
            rings = sum(LINK.all_reduce(size, count) for size in STAGE.buckets) + 2 * LINK.all_reduce(0.0, count)
            for overlap in (False, True):
                self.assertAlmostEqual(sc.simulate(sc.Plan(stages, count, LINK, 1, overlap)).total, rings)

    def test_without_overlap_it_is_both(self):
        small = 2 * LINK.all_reduce(0.0, 4)
        rings = sum(LINK.all_reduce(size, 4) for stage in STAGES for size in stage.buckets)
        found = sc.simulate(sc.Plan(STAGES, 4, LINK, updates=2))
        self.assertAlmostEqual(found.mean, computed(STAGES) + rings + small)
        self.assertAlmostEqual(found.exchange, 2 * (rings + small))

    def test_overlap_hides_all_but_the_last_bucket(self):
        link = LINK._replace(latency=0.0)
        last = link.all_reduce(4e8, 2)
        self.assertLess(last, STAGE.backward / 4)
        found = sc.simulate(sc.Plan((STAGE,), 2, link, updates=2, overlap=True))
        self.assertAlmostEqual(found.mean, computed((STAGE,)) + last)
        # A slow link has only the way back to the first bucket for nothing.
        slow = sc.Link(1e8, 0.0)
        found = sc.simulate(sc.Plan((STAGE,), 2, slow, updates=2, overlap=True))
        self.assertAlmostEqual(found.mean, computed((STAGE,)) - 3 / 4 * STAGE.backward + 4 * slow.all_reduce(4e8, 2))

    def test_a_divided_base(self):
        link = LINK._replace(latency=0.0)
        gathered = sum(STAGE.uses) * link.all_gather(4e8, 4)
        rings = sum(link.all_reduce(size, 4) for size in STAGE.buckets)
        plan = sc.Plan((STAGE,), 4, link, updates=1, base=4e8)
        self.assertAlmostEqual(sc.simulate(plan).total, computed((STAGE,)) + gathered + rings)
        # Ahead of time only the first piece is waited for: of the way there, and of the way back.
        hidden = sc.simulate(plan._replace(stages=(STAGE._replace(buckets=()),), overlap=True))
        self.assertAlmostEqual(hidden.total, computed((STAGE,)) + 2 * link.all_gather(4e8 / sc.PIECES, 4))

    def test_each_layer_has_its_latency(self):
        plan = sc.Plan((STAGE._replace(buckets=()),), 2, sc.Link(math.inf, 1e-3), updates=1, base=1.0, layers=80)
        small = 2 * plan.link.all_reduce(0.0, 2)
        self.assertAlmostEqual(sc.simulate(plan).total, computed((STAGE,)) + sum(STAGE.uses) * 80 * 1e-3 + small)

    def test_the_first_process_is_waited_for(self):
        plan = sc.Plan(STAGES, 4, LINK, updates=6)
        found = sc.simulate(plan._replace(watch=5.0, watch_every=2))
        self.assertAlmostEqual(found.total, sc.simulate(plan).total + 3 * 5.0)
        self.assertAlmostEqual(max(found.updates), max(sc.simulate(plan).updates))

    def test_a_slower_process_never_makes_it_faster(self):
        for overlap in (False, True):
            for base in (0.0, 4e8):
                plan = sc.Plan(STAGES, 4, LINK, updates=3, overlap=overlap, sigma=0.2, base=base, seed=7)
                even = sc.simulate(plan).total
                for rank in range(4):
                    self.assertGreaterEqual(sc.simulate(plan._replace(slow={rank: 1.3})).total, even)
        # All wait for it.
        alone = sc.simulate(sc.Plan(STAGES, 1, LINK, slow={0: 1.3})).mean
        link = sc.NOTHING
        self.assertAlmostEqual(sc.simulate(sc.Plan(STAGES, 4, link, slow={2: 1.3})).mean, alone)

    def test_uneven_processes_cost_more_the_more_there_are(self):
        means = [sc.simulate(sc.Plan(STAGES, count, sc.NOTHING, updates=100, sigma=0.1)).mean for count in (2, 8, 32)]
        self.assertEqual(means, sorted(means))
        self.assertGreater(means[0], computed(STAGES))
        # The same seed draws the same.
        plan = sc.Plan(STAGES, 8, LINK, sigma=0.1, seed=3)
        self.assertEqual(sc.simulate(plan), sc.simulate(plan))
        self.assertNotEqual(sc.simulate(plan), sc.simulate(plan._replace(seed=4)))

    def test_two_uneven_processes_as_the_larger_of_two_normals(self):
        # Of two normals the larger is sigma / sqrt(pi) above the mean.
        stages = (sc.Stage(1.0, 0.0, 0.0, (1.0,)),)
        found = sc.simulate(sc.Plan(stages, 2, sc.NOTHING, updates=20_000, sigma=0.02))
        self.assertAlmostEqual(found.mean, 1 + 0.02 / math.sqrt(math.pi), delta=5e-4)

    def test_buckets_hold_all(self):
        self.assertEqual(sc.in_buckets(1.0), (1.0,))
        buckets = sc.in_buckets(100e6)
        self.assertEqual(len(buckets), 4)
        self.assertAlmostEqual(sum(buckets), 100e6)


class WorkTest(unittest.TestCase):
    def test_shapes_are_those_of_published_models(self):
        sizes = {model.name: work.backbone(model).parameters / 1e9 for model in work.MODELS}
        expected = {"SD3-Medium": 2.03, "SDXL": 2.57, "SD3.5-Large": 8.06, "Z-Image": 6.15}
        self.assertEqual({name: round(size, 2) for name, size in sizes.items()}, expected)

    def test_names_in_braces(self):
        shapes = work.read_shapes("sd3_medium", {1536: 64})
        self.assertEqual(shapes["transformer_blocks.23.attn.to_q.weight"], (64, 64))
        self.assertNotIn("transformer_blocks.23.attn.to_add_out.weight", shapes)

    def test_adapters(self):
        layer = work.Layer("x", (6, 4, 3, 3), 10)
        self.assertEqual(layer.operations, 2 * 10 * 6 * 4 * 9)
        self.assertEqual(layer.adapter(2), 2 * (6 + 36))
        self.assertEqual(layer.merging(2), 2 * 2 * 6 * 36)

    def test_the_unet_is_as_published(self):
        # 2.99 T multiplications and additions without attention, at 1024 pixels.
        net = work.backbone(work.MODELS[1])
        self.assertAlmostEqual((net.forward - net.attention) / 2e12, 2.99, delta=0.03)

    def test_an_update_by_hand(self):
        model = work.MODELS[0]._replace(batch=1, ttur=1, ranks=(0, 0))
        net = work.backbone(model)
        products = net.forward - net.attention
        # Rollout 2.5, fake score, student, three scores; twice again, and back.
        expected = 9.5 * net.forward + 2 * (products + 2 * net.attention)
        self.assertAlmostEqual(work.work(model).operations(1) / expected, 1.0)
        full = work.work(model, full=True)
        self.assertAlmostEqual(full.operations(1) / (expected + products), 1.0)
        self.assertEqual(full.gradients, (0, 4 * net.parameters))


class RunsTest(unittest.TestCase):
    def records(self, folder: str, seconds: dict) -> Path:
        phases = {"prompts": 0.0, "rollout": 1.0, "fake score": 1.0, "generator": 1.0, "views": 1.0, "reward": 0.0}
        phases |= {"decode": 0.0, "backward": 4.0, "optimiser": 1.0, "other": 1.0}
        found = {}
        for case in [*runs.LINK, *runs.CASES]:
            alone, two = [[10.0, 0.0]] * 4, [[seconds[runs.key(case)], 0.0]] * 3
            found[runs.key(case)] = {"alone": alone, "two": [*two, *[[99.0, 0.5]] * 9], "phases": [phases]}
        path = Path(folder, "records.json")
        path.write_text(json.dumps(found), encoding="utf-8")
        return path

    def test_a_link_is_found_again_and_predicts(self):
        link = sc.Link(2e8, 3e-3)
        seconds = {}
        for case in [*runs.LINK, *runs.CASES]:
            fake, student = case.gradients()
            exchanges = case.ttur * len(sc.in_buckets(fake)) + len(sc.in_buckets(student)) + 1
            seconds[runs.key(case)] = 10.0 + exchanges * 6e-3 + (case.ttur * fake + student) / 2e8
        with tempfile.TemporaryDirectory() as folder:
            path = self.records(folder, seconds)
            found = sc.measured_link(path)
            self.assertAlmostEqual(found.bandwidth / link.bandwidth, 1.0)
            self.assertAlmostEqual(found.latency, link.latency)
            for case in runs.CASES:
                measured = runs.read(path, case)
                self.assertEqual((measured.alone, measured.updates), (10.0, 3))
                self.assertAlmostEqual(sc.predicted(case, measured, found, 3), seconds[runs.key(case)])

    def test_stages_are_the_phases(self):
        case = runs.CASES[1]
        phases = {
            "prompts": 1.0,
            "rollout": 2.0,
            "fake score": 3.0,
            "generator": 4.0,
            "backward": 5.0,
            "optimiser": 6.0,
        }
        stages = sc.stages_of(case, runs.Found(21.0, 0.0, phases, 0.0, 1))
        self.assertEqual(len(stages), case.ttur + 1)
        self.assertAlmostEqual(computed(stages), 21.0)
        self.assertEqual(
            sum(map(sum, (stage.buckets for stage in stages))), 3 * case.gradients()[0] + case.gradients()[1]
        )

    def test_the_noise_of_phases_is_that_of_the_update(self):
        stages = (sc.Stage(3.0, 4.0, 0.0),)
        self.assertAlmostEqual(sc.noise(stages, 0.1), 0.1 * 7 / 5)


if __name__ == "__main__":
    unittest.main()
