//! Requests to the hub: where the token goes, which redirects are followed, and when a request is
//! sent again. As the Python client does it (`utils/_http.py` of huggingface_hub 2.4).
//!
//! The crate `hf-hub` (1.0) knows neither offline mode nor legacy variables, does not go on with a
//! part of a file, and checks neither size nor hash of what arrives; it also brings a second HTTP
//! client with its runtime.

use std::{io::Read, thread, time::Duration};

use ureq::{
    Agent, Body, Error,
    http::{Method, Request, Response, header},
};
use url::Url;

use super::{error::HubError, settings::Settings};

const MAX_REDIRECTS: usize = 20;
/// Seconds before the second try and the ones after it.
const WAITS: [u64; 4] = [1, 2, 4, 8];
/// The longest wait that a hub may ask for; the public one counts requests in windows of 300 s.
const LONGEST_WAIT: u64 = 600;
/// Lists of files and messages, in bytes.
const MAX_TEXT: u64 = 1 << 30;

/// What is asked for.
pub(super) struct Query<'a> {
    pub(super) method: Method,
    pub(super) url: &'a str,
    /// First byte that is wanted.
    pub(super) start: u64,
    /// Longest silence.
    pub(super) timeout: Duration,
    /// Whether an answer may come from outside of the hub, where its large files lie.
    pub(super) leaves_hub: bool,
    /// Whether the request is sent again where that can help.
    pub(super) is_repeated: bool,
}

/// An answer, whatever its status.
pub(super) struct Reply {
    pub(super) url: String,
    response: Response<Body>,
}

/// What sends requests.
pub(super) struct Client {
    agent: Agent,
    pub(super) settings: Settings,
}

struct Failure {
    error: HubError,
    /// Another try may succeed.
    is_transient: bool,
}

impl Reply {
    pub(super) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        Some(self.response.headers().get(name)?.to_str().ok()?.trim())
    }

    pub(super) fn is_success(&self) -> bool {
        self.response.status().is_success()
    }

    /// The first byte that is in `Content-Range: bytes 7-11/12`.
    pub(super) fn first_byte(&self) -> Option<u64> {
        let range = self.header("content-range")?.strip_prefix("bytes ")?;
        range.split('-').next()?.trim().parse().ok()
    }

    pub(super) fn is_redirect(&self) -> bool {
        matches!(self.status(), 301 | 302 | 303 | 307 | 308)
    }

    /// The content as text; empty where it is none.
    pub(super) fn text(self) -> String {
        let body = self.response.into_body().into_with_config();
        let text = body.limit(MAX_TEXT).lossy_utf8(true).read_to_string();
        text.unwrap_or_default()
    }

    pub(super) fn reader(self) -> impl Read {
        self.response.into_body().into_reader()
    }

    /// How long the hub asks to wait: `Retry-After` in seconds, or `RateLimit: "api";r=0;t=55`.
    fn wait(&self) -> Option<u64> {
        let limit = || {
            let mut fields = self.header("ratelimit")?.split(';').map(str::trim);
            fields.find_map(|field| field.strip_prefix("t="))
        };
        let is_limited = self.status() == 429;
        let wait = self
            .header("retry-after")
            .or_else(|| limit().filter(|_| is_limited));
        wait?.parse().ok()
    }
}

impl Client {
    pub(super) fn new(settings: Settings) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0) // followed here, for the token's sake
            .max_redirects_will_error(false)
            .user_agent(concat!("dmdr/", env!("CARGO_PKG_VERSION")))
            .build();
        Self {
            agent: config.into(),
            settings,
        }
    }

    /// Asks, again after a wait where the hub is busy or the connection breaks.
    ///
    /// # Errors
    /// No answer.
    pub(super) fn send(&self, query: &Query<'_>) -> Result<Reply, HubError> {
        let mut waits = WAITS.iter().filter(|_| query.is_repeated);
        loop {
            let outcome = self.follow(query);
            let (is_transient, asked) = match &outcome {
                Ok(reply) => (is_busy(reply.status()), reply.wait()),
                Err(failure) => (failure.is_transient, None),
            };
            let wait = waits.next().map(|wait| asked.unwrap_or(*wait));
            match wait.filter(|wait| is_transient && *wait <= LONGEST_WAIT) {
                Some(wait) => thread::sleep(Duration::from_secs(wait)),
                None => return outcome.map_err(|failure| failure.error),
            }
        }
    }

    /// The answer at the end of redirects; where the query may not leave the hub, the one that
    /// would lead out of it, which has the file's size and hash.
    fn follow(&self, query: &Query<'_>) -> Result<Reply, Failure> {
        let failure = |reason: &str| Failure {
            error: HubError::NoHub {
                url: query.url.to_owned(),
                reason: reason.to_owned(),
            },
            is_transient: false,
        };
        let mut url = Url::parse(query.url).map_err(|error| failure(&error.to_string()))?;
        for _ in 0..MAX_REDIRECTS {
            let reply = self.ask(query, &url)?;
            let Some(target) = reply.header("location").filter(|_| reply.is_redirect()) else {
                return Ok(reply);
            };
            let target = url.join(target);
            let target = target.map_err(|_| failure("it redirects to what is no address"))?;
            if !query.leaves_hub && !self.settings.is_hub(&target) {
                return Ok(reply);
            }
            url = target;
        }
        Err(failure("it redirects without end"))
    }

    fn ask(&self, query: &Query<'_>, url: &Url) -> Result<Reply, Failure> {
        let request = Request::builder()
            .method(query.method.clone())
            .uri(url.as_str())
            // The size of what is sent is that of the file.
            .header(header::ACCEPT_ENCODING, "identity");
        let token = self.settings.token.as_ref();
        let request = match token.filter(|_| self.settings.is_hub(url)) {
            Some(token) => request.header(header::AUTHORIZATION, format!("Bearer {}", token.value)),
            None => request,
        };
        let request = match query.start {
            0 => request,
            start => request.header(header::RANGE, format!("bytes={start}-")),
        };
        let timeout = Some(query.timeout);
        let sent = request.body(()).map_err(Error::from).and_then(|request| {
            let request = self.agent.configure_request(request);
            let request = request
                .timeout_resolve(timeout)
                .timeout_connect(timeout)
                .timeout_recv_response(timeout)
                .timeout_per_read(timeout);
            self.agent.run(request.build())
        });
        let response = sent.map_err(|error| Failure {
            is_transient: is_transient(&error),
            error: HubError::Unreachable {
                url: place(url.as_str()).to_owned(),
                reason: error.to_string(),
            },
        })?;
        Ok(Reply {
            url: place(url.as_str()).to_owned(),
            response,
        })
    }
}

/// An address without its query, which holds signatures.
fn place(url: &str) -> &str {
    url.split('?').next().unwrap_or(url)
}

/// Whether a request with this status is worth another try.
fn is_busy(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502 | 503 | 504)
}

fn is_transient(error: &Error) -> bool {
    matches!(
        error,
        Error::Io(_)
            | Error::Timeout(_)
            | Error::HostNotFound
            | Error::ConnectionFailed
            | Error::Protocol(_)
    )
}
