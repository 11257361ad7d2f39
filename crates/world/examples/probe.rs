use dmdr_world::*;
fn main() {
    let p = if std::env::args().nth(1).as_deref() == Some("geneval") {
        Preset::Geneval
    } else {
        Preset::Mini
    };
    let w = World::new(p).unwrap();
    let j = Judge::new(&w);
    let n: u64 = std::env::args().nth(2).unwrap().parse().unwrap();
    let ds = [
        None,
        Some(Disturbance::Blur(0.5)),
        Some(Disturbance::Blur(0.6)),
        Some(Disturbance::Blur(0.9)),
        Some(Disturbance::Noise(0.03)),
        Some(Disturbance::Noise(0.05)),
        Some(Disturbance::Jpeg(85)),
        Some(Disturbance::Scale(0.95)),
        Some(Disturbance::Scale(1.05)),
        Some(Disturbance::Shift(0.5, 0.5)),
    ];
    for d in ds {
        let mut low = vec![];
        let mut ok = 0;
        let mut shown = 0;
        let t = std::time::Instant::now();
        for i in 0..n {
            let pr = w.prompt(Split::Test, 3, i);
            let mut im = w.render(&w.scene(&pr, i));
            if let Some(d) = d {
                im = d.apply(&im, i);
            }
            let r = j.read(&im);
            let v = j.verdict_of(&r, &pr);
            ok += v.correct as usize;
            for d in &r.detections {
                low.push(1.0 - d.score);
            }
            if !v.correct && shown < 4 {
                shown += 1;
                println!(
                    "{} : {} {:?}",
                    pr.caption,
                    v.reason,
                    r.detections
                        .iter()
                        .map(|d| (
                            w.objects()[d.object.0],
                            d.color.map(|c| w.colors()[c.0]),
                            d.score
                        ))
                        .collect::<Vec<_>>()
                );
            }
        }
        low.sort_by(f32::total_cmp);
        println!(
            "{d:?} ok {ok}/{n} residual median {:.4} 99% {:.4} 99.9% {:.4} max {:.4} {:?}",
            low[low.len() / 2],
            low[low.len() * 99 / 100],
            low[low.len() * 999 / 1000],
            low[low.len() - 1],
            t.elapsed() / n as u32
        );
    }
}
