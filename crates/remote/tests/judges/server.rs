//! A server in the test process that answers as it is told, well or badly.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// What the server does with one request.
#[derive(Clone)]
pub(crate) enum Reply {
    /// A whole answer: status, further header lines, body.
    Answer(u16, &'static str, String),
    /// Nothing, while the connection stays.
    Hang,
    /// The connection ends without a word.
    Die,
    /// The connection ends in the middle of the body.
    DieHalfway,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) head: String,
    pub(crate) body: serde_json::Value,
}

/// A server with a reply for each of the first requests; at later ones it dies. It keeps its port until the process ends,
/// so that no other test can be given it.
pub(crate) struct Server {
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    pub(crate) fn start(replies: impl IntoIterator<Item = Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}/score", listener.local_addr().expect("bound"));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let mut replies = replies.into_iter().collect::<Vec<_>>().into_iter();
        let seen = Arc::clone(&requests);
        thread::spawn(move || {
            let mut hanging = Vec::new();
            for stream in listener.incoming() {
                let stream = stream.expect("a connection");
                let request = read(&stream);
                seen.lock().expect("not poisoned").push(request);
                let reply = replies.next().unwrap_or(Reply::Die);
                answer(stream, &reply, &mut hanging);
            }
        });
        Self { url, requests }
    }

    /// What was asked until now.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("not poisoned").clone()
    }
}

fn read(stream: &TcpStream) -> Request {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        reader.read_line(&mut head).expect("a header line");
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse().expect("a length"))
    });
    let mut body = vec![0; length.expect("a length")];
    reader.read_exact(&mut body).expect("the body");
    let body = serde_json::from_slice(&body).expect("JSON");
    Request { head, body }
}

fn answer(mut stream: TcpStream, reply: &Reply, hanging: &mut Vec<TcpStream>) {
    let (status, header, body, length) = match reply {
        Reply::Hang => return hanging.push(stream),
        Reply::Die => return,
        Reply::DieHalfway => (200, "", "{\"scores\": [", 100),
        Reply::Answer(status, header, body) => (*status, *header, body.as_str(), body.len()),
    };
    let head = format!("HTTP/1.1 {status} -\r\nConnection: close\r\nContent-Length: {length}\r\n");
    // A client that has given up is no concern of the server's.
    let _ = stream.write_all(format!("{head}{header}\r\n{body}").as_bytes());
}
