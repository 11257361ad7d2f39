//! The server of `docs/rewards.md` does what the text beside it says.

use std::io::{BufRead, BufReader, ErrorKind};
use std::process::{Child, Command, Stdio};

use dmdr_remote::{Endpoint, RemoteReward};

/// Ends with the test, also if that fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended on its own; there is nobody to tell.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The first block of Python in the document.
fn code() -> &'static str {
    let document = include_str!("../../../../docs/rewards.md");
    let (_, rest) = document
        .split_once("```python\n")
        .expect("a block of Python");
    rest.split_once("```").expect("its end").0
}

/// Without Python, which only the scripts need, there is nothing to test.
#[test]
fn the_documented_server_scores() {
    let spawned = Command::new("python3")
        .args(["-c", code(), "0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut server = match spawned {
        Ok(child) => Running(child),
        Err(error) if error.kind() == ErrorKind::NotFound => return,
        Err(error) => panic!("{error}"),
    };
    let stdout = server.0.stdout.take().expect("piped");
    let mut port = String::new();
    BufReader::new(stdout)
        .read_line(&mut port)
        .expect("its port");
    let url = format!("http://127.0.0.1:{}/score", port.trim());
    let reward = RemoteReward::new(Endpoint::new(url).client().expect("an address"));
    for _ in 0..2 {
        let scores = reward.score(&["a cow", "кот"], &[&[0; 1500], &[0; 20]]);
        assert_eq!(scores.expect("an answer"), [Some(1.5), Some(0.02)]);
    }
}
