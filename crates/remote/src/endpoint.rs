//! A JSON service over HTTP: time limit, and patience with what may pass.

use std::fmt;
use std::thread;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::http::{Uri, header::RETRY_AFTER};
use ureq::{Agent, Body};

use crate::JudgeError;
use crate::error::shortened;

/// The most bytes of an answer; one that is longer is none.
const MAX_REPLY_BYTES: u64 = 16 << 20;

/// Where to ask, and for how long.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Full address, `http` or `https`.
    pub url: String,
    /// Sent as a bearer token if given. It appears in no message and no file.
    pub api_key: Option<ApiKey>,
    /// For one attempt, from connecting to the last byte.
    pub timeout: Duration,
    /// How to go on after a failure.
    pub retry: Retry,
}

/// A secret.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// Wraps a key, without the white space around it: files and shells put a line end behind it.
    ///
    /// # Errors
    /// Nothing, or a character that no header can carry: only visible ASCII can be sent.
    pub fn new(key: &str) -> Result<Self, JudgeError> {
        let key = key.trim();
        let wrong = |problem: String| Err(JudgeError::Key { problem });
        if key.is_empty() {
            return wrong("is empty".to_owned());
        }
        match key.chars().position(|c| !c.is_ascii_graphic() && c != ' ') {
            None => Ok(Self(key.to_owned())),
            Some(place) => wrong(format!(
                "holds a character that cannot be sent, at place {}; expected letters, digits and signs of ASCII",
                place + 1
            )),
        }
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(..)")
    }
}

/// When nobody answers, or with status 408, 429 or 5xx, the same is asked again after a wait that doubles each time. A
/// server that names a longer wait (`Retry-After` in seconds) gets it, up to the longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// How often to ask in all, at least once.
    pub attempts: u32,
    /// After the first failure.
    pub first_wait: Duration,
    /// However many failures there were.
    pub longest_wait: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 5,
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(60),
        }
    }
}

/// What one attempt came to, if not an answer.
enum Failure {
    /// It may pass.
    Passing {
        problem: String,
        wait: Option<Duration>,
    },
    Final(JudgeError),
}

impl Endpoint {
    /// An address with a time limit of two minutes and the default patience.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            api_key: None,
            timeout: Duration::from_secs(120),
            retry: Retry::default(),
        }
    }

    /// A client, which may be shared between threads.
    ///
    /// # Errors
    /// An address that is none.
    pub fn client(self) -> Result<Client, JudgeError> {
        let uri = self.url.parse::<Uri>().ok();
        let uri = uri.filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")));
        let Some(host) = uri.as_ref().and_then(Uri::host) else {
            return Err(JudgeError::Address { url: self.url });
        };
        let mut config = Agent::config_builder()
            .timeout_global(Some(self.timeout))
            .http_status_as_error(false)
            // A key must not follow a redirection to somebody else.
            .max_redirects(0)
            .max_redirects_will_error(false);
        // The environment's proxy is for the world outside.
        if host == "localhost" || host == "[::1]" || host.starts_with("127.") {
            config = config.proxy(None);
        }
        let agent = config.build().new_agent();
        Ok(Client {
            endpoint: self,
            agent,
        })
    }
}

/// A connection to an [`Endpoint`].
#[derive(Debug)]
pub struct Client {
    endpoint: Endpoint,
    agent: Agent,
}

impl Client {
    /// Sends `request` and reads the answer as a `T`.
    ///
    /// # Errors
    /// No answer, a refusal, or an answer that is not a `T`.
    pub(super) fn post<T: DeserializeOwned>(&self, request: &Value) -> Result<T, JudgeError> {
        let reply = self.post_text(&request.to_string())?;
        serde_json::from_str(&reply).map_err(|error| self.protocol(error.to_string(), &reply))
    }

    /// An answer that is not what was agreed.
    pub(super) fn protocol(&self, message: impl Into<String>, reply: &str) -> JudgeError {
        JudgeError::Protocol {
            url: self.endpoint.url.clone(),
            message: message.into(),
            reply: shortened(reply),
        }
    }

    fn post_text(&self, request: &str) -> Result<String, JudgeError> {
        let Retry {
            attempts,
            first_wait,
            longest_wait,
        } = self.endpoint.retry;
        let mut wait = first_wait;
        let mut attempt = 1;
        loop {
            let (problem, asked) = match self.attempt(request) {
                Ok(reply) => return Ok(reply),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing { problem, wait }) => (problem, wait),
            };
            if attempt >= attempts {
                let url = self.endpoint.url.clone();
                return Err(JudgeError::NoAnswer {
                    url,
                    attempts: attempt,
                    problem,
                });
            }
            thread::sleep(wait.max(asked.unwrap_or_default()).min(longest_wait));
            wait = wait.saturating_mul(2);
            attempt += 1;
        }
    }

    fn attempt(&self, request: &str) -> Result<String, Failure> {
        let failure = |error: ureq::Error| {
            let problem = match &error {
                ureq::Error::Timeout(_) => {
                    format!("it took longer than {:?}", self.endpoint.timeout)
                }
                other => other.to_string(),
            };
            match error {
                // Of the request or of the settings: these stay as they are.
                ureq::Error::Http(_)
                | ureq::Error::BadUri(_)
                | ureq::Error::InvalidProxyUrl
                | ureq::Error::Tls(_)
                | ureq::Error::Pem(_)
                | ureq::Error::Rustls(_) => Failure::Final(JudgeError::NoAnswer {
                    url: self.endpoint.url.clone(),
                    attempts: 1,
                    problem,
                }),
                _ => Failure::Passing {
                    problem,
                    wait: None,
                },
            }
        };
        let mut post = self
            .agent
            .post(&self.endpoint.url)
            .header("Content-Type", "application/json");
        if let Some(ApiKey(key)) = &self.endpoint.api_key {
            post = post.header("Authorization", format!("Bearer {key}"));
        }
        let mut response = post.send(request).map_err(failure)?;
        let status = response.status().as_u16();
        let wait = response.headers().get(RETRY_AFTER);
        let wait = wait.and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let reply = read(response.body_mut()).map_err(failure)?;
        match status {
            200..300 => Ok(reply),
            408 | 429 | 500.. => Err(Failure::Passing {
                problem: format!("status {status}: {}", shortened(&reply)),
                wait: wait.map(Duration::from_secs),
            }),
            401 | 403 => Err(Failure::Final(JudgeError::Denied {
                url: self.endpoint.url.clone(),
                status,
                problem: match self.endpoint.api_key {
                    Some(_) => "does not accept the key",
                    None => "wants a key, and none is given",
                },
                reply: shortened(&reply),
            })),
            _ => Err(Failure::Final(JudgeError::Refused {
                url: self.endpoint.url.clone(),
                status,
                reply: shortened(&reply),
            })),
        }
    }
}

fn read(body: &mut Body) -> Result<String, ureq::Error> {
    body.with_config().limit(MAX_REPLY_BYTES).read_to_string()
}
