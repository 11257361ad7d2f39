//! Agreement with PyTorch on fixtures made by `make parity`: values and gradients to 1e-4.

mod captions;
mod colors;
#[path = "../../../models/tests/parity/fixture.rs"]
mod fixture;
mod preprocess;
mod rewards;
