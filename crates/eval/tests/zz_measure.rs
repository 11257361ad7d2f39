//! temp
use dmdr_config::Assets; use dmdr_data::Prompts; use dmdr_eval::*; use dmdr_tensor::*; use dmdr_world::*;
struct W(&'static str, TrueScenes, fn(Tensor,&Tensor)->Tensor);
impl Sampler for W {
 fn sample(&self,p:&Prompts,n:&Tensor)->Result<Tensor,EvalError>{ Ok((self.2)(self.1.sample(p,n)?, n)) }
 fn num_evaluations(&self)->usize{1} fn guidance(&self)->f64{1.0} fn name(&self)->&str{self.0}
}
#[test]
fn m() {
  let p: std::path::PathBuf = std::env::var("CLIP").unwrap().into();
  let a = Assets{world_clip:p.clone(),preference:p.clone(),preference_heldout:p};
  let w = World::new(Preset::Mini).unwrap();
  let e = Evaluator::load(w.clone(), &a, Device::Cpu).unwrap();
  let mk=|n,f| W(n,TrueScenes::new(w.clone()),f);
  for np in [60usize, 600] {
  let set=EvalSet{split:Split::Test,num_prompts:np,seeds:vec![0,1,2]};
  let mut prev: Option<Evaluation> = None;
  for s in [mk("true",|x,_|x), mk("noise.03",|x,n|x+n*0.03), mk("noise.1",|x,n|x+n*0.1), mk("roll", |x,_|x.roll([1],[0])), mk("grey",|x,_|x*0.0+0.2)] {
    let t=std::time::Instant::now();
    let r=e.evaluate(&s,&set,&mut |_,_|()).unwrap();
    println!("{np} {} {:.2}s  img/s {:.0}", s.0, t.elapsed().as_secs_f64(), r.images_per_second);
    for (k,v) in &r.metrics { println!("   {k} {:.4} +- {:.4}", v.mean, v.std); }
    let t=std::time::Instant::now();
    if let Some(p)=&prev { let c=compare(&r,p).unwrap(); println!("  vs true {:?} {:.3}s", c.intervals, t.elapsed().as_secs_f64()); } else { 
      let judge=Judge::new(&w); let imgs:Vec<_>=set.prompts(&w).iter().map(|p|w.render(&w.scene(p,9))).collect();
      let t=std::time::Instant::now(); let n=imgs.iter().zip(set.prompts(&w)).filter(|(i,p)|judge.verdict(i,p).correct).count(); println!("  judge 1 thread {:.2} ms/image, {n} right", t.elapsed().as_secs_f64()*1e3/np as f64);
      for x in r.scores.iter().filter(|x|!x.correct).take(8) {println!("   {} | {}", x.caption,x.reason);}
      prev=Some(r); }
  }}
}
