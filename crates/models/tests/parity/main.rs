//! Agreement with PyTorch on fixtures made by `make parity`: values to 1e-4, gradients to 5e-4, names and shapes exactly.

mod backbone;
mod fixture;
mod inception;
mod lpips;
mod schedulers;
mod sd3;
mod sdxl;
mod shapes;
mod sit;
mod text;
mod tokenizer_files;
mod tokenizers;
mod vae;
mod vision;
mod world;
mod z_image;
