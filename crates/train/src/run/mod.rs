//! A run: a method with its networks, the one loop around its updates, and what is written on the way.

pub(crate) mod bench;
pub(crate) mod checkpoint;
pub(crate) mod course;
pub(crate) mod distill;
pub(crate) mod guard;
pub(crate) mod measure;
pub(crate) mod nets;
pub(crate) mod observer;
pub(crate) mod recorder;
pub(crate) mod rehearsal;
pub(crate) mod sheet;
pub(crate) mod trainer;
