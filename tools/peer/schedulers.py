#!/usr/bin/env python3
"""Parity fixture of the samplers: diffusers' schedulers on a network that is one line. Part of `make parity`.

Times are `dmdr`'s: from 1 in equal steps, shifted. diffusers' flow scheduler is given them as `sigmas`, those of SDXL as
`timesteps`, or finds them by itself where its spacing is `trailing`.
"""

from __future__ import annotations

import diffusers
import torch
from backbones import write_values
from torch import Tensor

SDXL = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", num_train_timesteps=1000)


def network(x: Tensor, t: float) -> Tensor:
    """A velocity or a noise, whichever is asked for."""
    return 0.4 * x - 0.3 * t + 0.2


def flow(steps: int, shift: float, stochastic: bool) -> tuple[diffusers.SchedulerMixin, list[float]]:
    config = dict(num_train_timesteps=1000, shift=shift, stochastic_sampling=stochastic)
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(**config)
    scheduler.set_timesteps(sigmas=[1 - i / steps for i in range(steps)])
    return scheduler, [float(t) / 1000 for t in scheduler.timesteps]


def discrete(scheduler: diffusers.SchedulerMixin, **grid: object) -> tuple[diffusers.SchedulerMixin, list[float]]:
    scheduler.set_timesteps(**grid)
    return scheduler, [(int(timestep) + 1) / 1000 for timestep in scheduler.timesteps]


def trace(sampler: tuple[diffusers.SchedulerMixin, list[float]], start: Tensor) -> dict[str, Tensor]:
    """States before and after each step, the times, and the noise that each step of a stochastic scheduler draws."""
    (scheduler, times), x = sampler, start
    states, noises = [x], []
    for timestep, t in zip(scheduler.timesteps, times, strict=True):
        seed = torch.Generator().manual_seed(len(states))
        noises.append(torch.randn(x.shape, generator=torch.Generator().manual_seed(len(states))))
        options = {} if isinstance(scheduler, diffusers.DDIMScheduler) else dict(generator=seed)
        x = scheduler.step(network(x, t), timestep, x, return_dict=False, **options)[0]
        states.append(x)
    return dict(states=torch.stack(states), times=torch.tensor(times), noises=torch.stack(noises))


def main() -> None:
    torch.manual_seed(8)
    start = torch.randn(2, 3, 4, 5)
    samplers = {f"flow_{steps}_{shift}": flow(steps, shift, False) for steps, shift in [(25, 3.0), (4, 1.0), (7, 6.0)]}
    samplers |= {f"flow_renoised_{steps}_{shift}": flow(steps, shift, True) for steps, shift in [(4, 3.0), (1, 1.0)]}
    ddim = diffusers.DDIMScheduler(**SDXL, timestep_spacing="trailing", set_alpha_to_one=True, clip_sample=False)
    samplers["ddim_25"] = discrete(ddim, num_inference_steps=25)
    lcm = diffusers.LCMScheduler(**SDXL, set_alpha_to_one=True, clip_sample=False)
    samplers["lcm_4"] = discrete(lcm, timesteps=[999, 749, 499, 249])
    found = {}
    for name, sampler in samplers.items():
        found |= {f"{name}.{key}": value for key, value in trace(sampler, start).items()}
    write_values("schedulers", found)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
