//! What an update gives its method: the place, the draws, the batches, and what a guard leaves.

mod tiny;

use std::{cell::RefCell, collections::BTreeMap};

use dmdr_methods::{Batch, Feed, FeedError, MethodError, Nets, Place, Update};
use dmdr_tensor::{Device, Kind, Tensor, reseed};
use tiny::Tiny;

fn noise() -> Tensor {
    Tensor::randn([16], (Kind::Float, Device::Cpu))
}

/// The noise at the last of `begins` iterations of an update of a run with so many an update, and the iteration's index.
fn noise_at(seed: u64, place: u64, iterations: u64, begins: u64) -> (Tensor, u64) {
    let mut tiny = Tiny::new();
    tiny.iterations = iterations;
    let mut update = tiny.at(seed, place);
    for _ in 1..begins {
        update.begin();
        let _ = noise();
    }
    let index = update.begin();
    let expected = Place {
        seed,
        update: place,
        iteration: begins - 1,
    };
    assert_eq!(update.place(), expected);
    (noise(), index)
}

#[test]
fn draws_follow_from_the_seed_and_the_index_of_the_iteration() {
    reseed(&[5, 7]);
    let expected = (noise(), 7);
    assert_eq!(noise_at(5, 2, 3, 2), expected, "the second of three");
    assert_eq!(noise_at(5, 3, 2, 2), expected, "the second of two");
    assert_eq!(noise_at(5, 7, 1, 1), expected, "the only one");
    assert_ne!(noise_at(6, 7, 1, 1).0, expected.0, "another seed");
    assert_ne!(noise_at(5, 2, 3, 1).0, expected.0, "another iteration");
}

#[test]
#[should_panic(expected = "the recipe plans 2 iterations an update")]
fn an_update_has_no_more_iterations_than_are_planned() {
    let _ = noise_at(5, 0, 2, 3);
}

/// It has nothing and keeps what it is asked for.
#[derive(Default)]
struct Asked(RefCell<Vec<u64>>);

impl Feed for Asked {
    fn batch(&self, iteration: u64) -> Result<Batch, FeedError> {
        self.0.borrow_mut().push(iteration);
        Err("nothing there".into())
    }
}

#[test]
fn batches_are_counted_over_the_whole_run() {
    let (mut nets, feed, factors) = (
        Nets::new(None, Vec::new()),
        Asked::default(),
        BTreeMap::new(),
    );
    for update in [0, 4] {
        let mut update = Update::new(5, update, 3, &mut nets, &feed, &factors);
        for _ in 0..3 {
            let error = update.batch().expect_err("there is none");
            assert!(matches!(error, MethodError::Feed(_)));
            assert_eq!(error.to_string(), "nothing there");
        }
    }
    assert_eq!(*feed.0.borrow(), [0, 1, 2, 12, 13, 14]);
}

#[test]
fn a_guard_lowers_the_term_that_it_names() {
    let mut tiny = Tiny::new();
    tiny.factors.insert("rl".to_owned(), 0.25);
    let update = tiny.at(0, 0);
    assert!((update.factor("rl") - 0.25).abs() < f64::EPSILON);
    assert!((update.factor("dm") - 1.0).abs() < f64::EPSILON);
}

#[test]
fn true_images_follow_from_the_iteration() {
    let mut tiny = Tiny::new();
    tiny.iterations = 3;
    tiny.feed.true_images = Some(Tensor::zeros([8, 3, 8, 8], (Kind::Float, Device::Cpu)));
    let mut update = tiny.at(0, 2);
    let mut drawn = Vec::new();
    for _ in 0..3 {
        let batch = update.batch().expect("prompts");
        let images = update.true_images(&batch.prompts).expect("drawn");
        drawn.push((images.mean(Kind::Float).double_value(&[]) * 10.0).round());
    }
    assert_eq!(drawn, [6.0, 7.0, 8.0]);
}
