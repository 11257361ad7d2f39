//! Build script of every crate whose tests or binaries link libtorch: they find it without LD_LIBRARY_PATH.
#![expect(
    clippy::print_stdout,
    reason = "build scripts speak to cargo on stdout"
)]

fn main() {
    if let Ok(lib) = std::env::var("DEP_DMDR_SHIM_LIBTORCH_LIB") {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{lib}");
    }
}
