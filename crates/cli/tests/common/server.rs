//! An HTTP server in the test process.
#![allow(dead_code, reason = "every test program uses its own part")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    thread,
};

/// What was asked.
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    /// Lines, in lower case.
    pub(crate) head: Vec<String>,
    pub(crate) body: Vec<u8>,
}

/// What is answered.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Lines without ends. A `Content-Length` among them stands for that of the body.
    pub(crate) head: Vec<String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// Without content.
    pub(crate) fn status(status: u16, head: &[&str]) -> Self {
        Self {
            status,
            head: head.iter().map(|line| (*line).to_owned()).collect(),
            body: Vec::new(),
        }
    }

    /// Status 200.
    pub(crate) fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self {
            status: 200,
            head: Vec::new(),
            body: body.into(),
        }
    }
}

impl Request {
    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let line = self.head.iter().find_map(|line| line.strip_prefix(name))?;
        Some(line.strip_prefix(':')?.trim())
    }

    fn read(stream: &TcpStream) -> Self {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        let mut next = || {
            line.clear();
            reader.read_line(&mut line).expect("UTF-8");
            line.trim_end().to_owned()
        };
        let first = next();
        let mut words = first.split(' ').map(str::to_owned);
        let mut word = || words.next().expect("a method and a path");
        let (method, path) = (word(), word());
        let mut head = Vec::new();
        loop {
            let line = next();
            if line.is_empty() {
                break;
            }
            head.push(line.to_ascii_lowercase());
        }
        let mut request = Self {
            method,
            path,
            head,
            body: Vec::new(),
        };
        let length = request.header("content-length");
        let length = length.map_or(0, |length| length.parse().expect("a number"));
        request.body = vec![0; length];
        reader.read_exact(&mut request.body).expect("the body");
        request
    }
}

/// Answers requests one after another until the process ends; `http://HOST:PORT`.
pub(crate) fn serve(mut answer: impl FnMut(&Request) -> Answer + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let request = Request::read(&stream);
            let Answer {
                status,
                mut head,
                body,
            } = answer(&request);
            if !head.iter().any(|line| line.starts_with("Content-Length:")) {
                head.push(format!("Content-Length: {}", body.len()));
            }
            let lines = head.iter().map(|line| format!("{line}\r\n"));
            let head = format!(
                "HTTP/1.1 {status} .\r\n{}Connection: close\r\n\r\n",
                lines.collect::<String>(),
            );
            // The other side may have given up.
            let _ = stream.write_all(head.as_bytes());
            if request.method != "HEAD" {
                let _ = stream.write_all(&body);
            }
        }
    });
    url
}
