//! Compiles the C++ shim against the libtorch that `torch-sys` found, and hands its path to dependents.

use std::path::PathBuf;

fn main() {
    println!("cargo:rerun-if-changed=cpp");
    let lib = PathBuf::from(
        std::env::var("DEP_TCH_LIBTORCH_LIB")
            .expect("`torch-sys` reports no libtorch: run `make setup`"),
    );
    let include = lib
        .parent()
        .expect("libtorch's lib folder has a parent")
        .join("include");
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .warnings(false)
        // So that loops over numbers become vectors; no number changes.
        .flag_if_supported("-fno-math-errno")
        .flag_if_supported("-fno-trapping-math")
        .include("cpp")
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        .files([
            "cpp/shim.cpp",
            "cpp/kernels.cpp",
            "cpp/phantom.cpp",
            "cpp/cuda.cpp",
            "cpp/ranks.cpp",
        ])
        .compile("dmdr_shim");
    println!("cargo:libtorch_lib={}", lib.display());
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", lib.display());
}
