//! A laboratory in small: a table and a page, the same again when it goes on.

use std::{fs, process::Command};

#[test]
fn a_lab_that_was_stopped_goes_on_to_the_same_table() {
    let root = tempfile::tempdir().expect("temp dir");
    let here = root.path();
    let run = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dmdr-lab"));
        command.current_dir(here).env("OMP_NUM_THREADS", "1");
        let output = command
            .args(["fig4", "--quick", "--seeds", "2", "--quiet"])
            .output()
            .expect("the binary starts");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{told}");
        String::from_utf8(output.stdout).expect("text")
    };
    let table = run();
    assert!(table.starts_with("| arm | modes covered of 5 |"), "{table}");
    let folder = here.join("runs/lab/fig4");
    let page = fs::read_to_string(folder.join("fig4.md")).expect("the page");
    assert!(page.contains("## Does it hold here?") && page.contains("(fig4-1.png)"));
    assert!(folder.join("fig4-1.png").is_file());

    // As if it had been killed in the middle of a unit: that one is made again, the others are kept.
    let unit = folder.join("quick/DMD + ReFL/seed-101.json");
    fs::write(&unit, "{\"settings\":").expect("a finished unit");
    let kept = folder.join("quick/DMD/seed-100.json");
    let before = fs::metadata(&kept)
        .and_then(|file| file.modified())
        .expect("kept");
    assert_eq!(run(), table);
    let after = fs::metadata(&kept)
        .and_then(|file| file.modified())
        .expect("kept");
    assert_eq!(before, after);
}
