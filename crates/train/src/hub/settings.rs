//! What the environment says about the hub, read as Python's `huggingface_hub` reads it (its page
//! "Environment variables"; `constants.py` and `utils/_auth.py` of 2.4), so that a machine set up
//! for diffusers works unchanged. A variable that is empty counts as not set.

use std::{
    env,
    ffi::OsString,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    time::Duration,
};

use url::Url;

use super::error::HubError;

const ENDPOINT: &str = "https://huggingface.co";
/// Addresses that count as the hub beside the endpoint: where a mirror leads there, the token goes
/// along.
const OFFICIAL: [&str; 3] = [ENDPOINT, "https://hf.co", "https://hub-ci.huggingface.co"];

/// How the hub is reached, and where its files are kept.
pub(super) struct Settings {
    /// The hub's address, without a slash at its end.
    pub(super) endpoint: String,
    /// The folder of all repositories.
    pub(super) cache: PathBuf,
    /// What is sent as proof of who asks.
    pub(super) token: Option<Token>,
    /// The variable that forbids all connections.
    pub(super) offline: Option<&'static str>,
    /// How long an answer without content may take.
    pub(super) etag_timeout: Duration,
    /// How long the next bytes of a file may take.
    pub(super) download_timeout: Duration,
    /// Whether files of a snapshot may be links.
    pub(super) links: bool,
    /// Whether downloads are shown.
    pub(super) bars: bool,
}

/// A token and where it comes from.
pub(super) struct Token {
    pub(super) value: String,
    pub(super) origin: String,
}

impl Settings {
    /// Those of this process.
    ///
    /// # Errors
    /// A variable that cannot be understood, or a token that cannot be read.
    pub(super) fn from_env() -> Result<Self, HubError> {
        Environment {
            variable: &|name| env::var_os(name),
            home: env::home_dir(),
        }
        .settings()
    }

    /// Whether the token may be sent to `url`.
    pub(super) fn is_hub(&self, url: &Url) -> bool {
        let is_same = |hub: &str| Url::parse(hub).is_ok_and(|hub| hub.origin() == url.origin());
        is_same(&self.endpoint) || OFFICIAL.iter().any(|hub| is_same(hub))
    }
}

struct Environment<'a> {
    variable: &'a dyn Fn(&str) -> Option<OsString>,
    home: Option<PathBuf>,
}

impl Environment<'_> {
    fn settings(&self) -> Result<Settings, HubError> {
        let home = self.folder("HF_HOME").unwrap_or_else(|| {
            let cache = self.folder("XDG_CACHE_HOME");
            let cache = cache.unwrap_or_else(|| self.expanded(Path::new("~/.cache")));
            cache.join("huggingface")
        });
        let cache = self.folder("HF_HUB_CACHE");
        let cache = cache.or_else(|| self.folder("HUGGINGFACE_HUB_CACHE"));
        Ok(Settings {
            endpoint: self.endpoint()?,
            cache: cache.unwrap_or_else(|| home.join("hub")),
            token: self.token(&home)?,
            offline: self.offline(),
            etag_timeout: self.seconds("HF_HUB_ETAG_TIMEOUT")?,
            download_timeout: self.seconds("HF_HUB_DOWNLOAD_TIMEOUT")?,
            links: !self.is_true("HF_HUB_DISABLE_SYMLINKS"),
            bars: !self.is_true("HF_HUB_DISABLE_PROGRESS_BARS"),
        })
    }

    fn value(&self, name: &str) -> Option<OsString> {
        (self.variable)(name).filter(|value| !value.is_empty())
    }

    fn text(&self, name: &str) -> Option<String> {
        self.value(name)?.into_string().ok()
    }

    fn is_true(&self, name: &str) -> bool {
        self.text(name).is_some_and(|value| is_true(&value))
    }

    fn folder(&self, name: &str) -> Option<PathBuf> {
        Some(self.expanded(Path::new(&self.value(name)?)))
    }

    /// With the home folder for `~`, and variables for `$NAME` and `${NAME}`.
    fn expanded(&self, path: &Path) -> PathBuf {
        let Some(text) = path.to_str() else {
            return path.to_owned();
        };
        let home = || Some(self.home.as_ref()?.to_str()?.to_owned());
        let variable = |name: &str| (self.variable)(name)?.into_string().ok();
        let expanded = shellexpand::full_with_context_no_errors(text, home, variable);
        PathBuf::from(expanded.as_ref())
    }

    fn endpoint(&self) -> Result<String, HubError> {
        let Some(found) = self.text("HF_ENDPOINT") else {
            return Ok(ENDPOINT.to_owned());
        };
        let endpoint = found.trim().trim_end_matches('/');
        let is_usable = |url: Url| matches!(url.scheme(), "http" | "https") && url.has_host();
        if Url::parse(endpoint).is_ok_and(is_usable) {
            return Ok(endpoint.to_owned());
        }
        Err(HubError::Variable {
            variable: "HF_ENDPOINT",
            found,
            expected: "an address such as `https://huggingface.co`",
        })
    }

    /// The first of the two that is set decides.
    fn offline(&self) -> Option<&'static str> {
        let names = ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"];
        let set = |name: &'static str| Some((name, self.text(name)?));
        let (name, value) = names.into_iter().find_map(set)?;
        is_true(&value).then_some(name)
    }

    fn seconds(&self, variable: &'static str) -> Result<Duration, HubError> {
        let found = self.text(variable).unwrap_or_default();
        let seconds = match found.trim() {
            "" | "0" => 10,
            number => number.parse().map_err(|_| HubError::Variable {
                variable,
                found: found.clone(),
                expected: "a whole number of seconds",
            })?,
        };
        Ok(Duration::from_secs(seconds))
    }

    /// From a variable, else from the file that `hf auth login` writes below `home`.
    fn token(&self, home: &Path) -> Result<Option<Token>, HubError> {
        if self.is_true("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
            return Ok(None);
        }
        let names = ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"];
        let set = |name: &str| Some((format!("`{name}`"), self.text(name)?));
        let (origin, value) = names.into_iter().find_map(set).unwrap_or_default();
        if let Some(value) = cleaned(&value) {
            return checked(value, origin);
        }
        let path = self.folder("HF_TOKEN_PATH");
        let path = path.unwrap_or_else(|| home.join("token"));
        let value = match fs::read_to_string(&path) {
            Ok(value) => value,
            // Not there, or below what is no folder.
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                String::new()
            }
            Err(source) => return Err(HubError::TokenFile { path, source }),
        };
        match cleaned(&value) {
            Some(value) => checked(value, format!("`{}`", path.display())),
            None => Ok(None),
        }
    }
}

fn is_true(value: &str) -> bool {
    ["1", "ON", "YES", "TRUE"]
        .iter()
        .any(|word| value.eq_ignore_ascii_case(word))
}

/// Without line ends and white space around it, as an editor or `echo` leaves them.
fn cleaned(token: &str) -> Option<String> {
    let token = token.replace(['\r', '\n'], "");
    let token = token.trim();
    (!token.is_empty()).then(|| token.to_owned())
}

/// A header holds visible ASCII alone.
fn checked(value: String, origin: String) -> Result<Option<Token>, HubError> {
    if value.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(Some(Token { value, origin }))
    } else {
        Err(HubError::Token { origin })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Result<Settings, HubError> {
        let variable = |name: &str| {
            let set = variables.iter().find(|(set, _)| *set == name);
            set.map(|(_, value)| OsString::from(value))
        };
        Environment {
            variable: &variable,
            home: Some("/home/ada".into()),
        }
        .settings()
    }

    fn read(variables: &[(&str, &str)]) -> Settings {
        settings(variables).unwrap_or_else(|error| panic!("{variables:?}: {error}"))
    }

    #[test]
    fn the_cache_is_where_python_has_it() {
        for (variables, expected) in [
            (&[][..], "/home/ada/.cache/huggingface/hub"),
            (&[("XDG_CACHE_HOME", "/x")], "/x/huggingface/hub"),
            (
                &[("XDG_CACHE_HOME", "")],
                "/home/ada/.cache/huggingface/hub",
            ),
            (
                &[("HF_HOME", "~/hf"), ("XDG_CACHE_HOME", "/x")],
                "/home/ada/hf/hub",
            ),
            (
                &[("HF_HOME", "$DISK/hf"), ("DISK", "/data")],
                "/data/hf/hub",
            ),
            (&[("HF_HOME", "${DISK}/hf")], "${DISK}/hf/hub"),
            (
                &[("HUGGINGFACE_HUB_CACHE", "~/old"), ("HF_HOME", "/h")],
                "/home/ada/old",
            ),
            (
                &[("HF_HUB_CACHE", "/new"), ("HUGGINGFACE_HUB_CACHE", "/old")],
                "/new",
            ),
            (&[("HF_HUB_CACHE", "~")], "/home/ada"),
        ] {
            assert_eq!(read(variables).cache, Path::new(expected), "{variables:?}");
        }
    }

    #[test]
    fn the_endpoint_has_no_slash_at_its_end() {
        assert_eq!(read(&[]).endpoint, "https://huggingface.co");
        for (found, expected) in [
            ("https://hf-mirror.com/", "https://hf-mirror.com"),
            (
                " http://127.0.0.1:8080/api/hf// \n",
                "http://127.0.0.1:8080/api/hf",
            ),
        ] {
            assert_eq!(read(&[("HF_ENDPOINT", found)]).endpoint, expected);
        }
        for wrong in ["hf-mirror.com", "localhost:8080", "ftp://hf.co"] {
            let error = settings(&[("HF_ENDPOINT", wrong)])
                .err()
                .expect(wrong)
                .to_string();
            assert!(
                error.contains(wrong) && error.contains("https://huggingface.co"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_token_goes_to_the_hub_alone() {
        let settings = read(&[("HF_ENDPOINT", "http://mirror.lab:80/hf")]);
        for (url, expected) in [
            ("http://mirror.lab/x", true),
            ("https://huggingface.co/x", true),
            ("https://mirror.lab/x", false),
            ("http://mirror.lab:81/x", false),
            ("http://huggingface.co/x", false),
            ("https://cdn-lfs.huggingface.co/x", false),
            ("https://huggingface.co.evil.com/x", false),
        ] {
            assert_eq!(
                settings.is_hub(&Url::parse(url).expect(url)),
                expected,
                "{url}"
            );
        }
    }

    #[test]
    fn offline_is_what_the_first_variable_says() {
        for (variables, expected) in [
            (&[][..], None),
            (&[("HF_HUB_OFFLINE", "1")], Some("HF_HUB_OFFLINE")),
            (&[("HF_HUB_OFFLINE", "Yes")], Some("HF_HUB_OFFLINE")),
            (&[("HF_HUB_OFFLINE", "on")], Some("HF_HUB_OFFLINE")),
            (&[("HF_HUB_OFFLINE", "2")], None),
            (
                &[("TRANSFORMERS_OFFLINE", "true")],
                Some("TRANSFORMERS_OFFLINE"),
            ),
            (
                &[("HF_HUB_OFFLINE", "0"), ("TRANSFORMERS_OFFLINE", "1")],
                None,
            ),
            (
                &[("HF_HUB_OFFLINE", ""), ("TRANSFORMERS_OFFLINE", "1")],
                Some("TRANSFORMERS_OFFLINE"),
            ),
        ] {
            assert_eq!(read(variables).offline, expected, "{variables:?}");
        }
    }

    #[test]
    fn timeouts_are_whole_seconds() {
        let seconds = |found| {
            read(&[("HF_HUB_ETAG_TIMEOUT", found)])
                .etag_timeout
                .as_secs()
        };
        assert_eq!([seconds(""), seconds("0"), seconds(" 30 ")], [10, 10, 30]);
        let error = settings(&[("HF_HUB_DOWNLOAD_TIMEOUT", "1.5")])
            .err()
            .expect("no integer");
        assert!(
            error
                .to_string()
                .contains("`HF_HUB_DOWNLOAD_TIMEOUT` is `1.5`"),
            "{error}"
        );
    }

    #[test]
    fn the_token_comes_from_the_first_place_that_has_one() {
        let dir = tempfile::tempdir().expect("temp dir");
        let home = dir.path().to_str().expect("UTF-8");
        let of = |variables: &[(&str, &str)]| {
            let variables = [&[("HF_HOME", home)], variables].concat();
            read(&variables)
                .token
                .map(|token| (token.value, token.origin))
        };
        let named = |value: &str, origin: &str| Some((value.to_owned(), format!("`{origin}`")));
        assert_eq!(of(&[]), None);
        let file = format!("{home}/token");
        fs::write(&file, "hf_file\r\n").expect("writable");
        assert_eq!(of(&[]), named("hf_file", &file));
        assert_eq!(of(&[("HF_TOKEN", " hf_a\n")]), named("hf_a", "HF_TOKEN"));
        assert_eq!(of(&[("HF_TOKEN", " ")]), named("hf_file", &file));
        let old = ("HUGGING_FACE_HUB_TOKEN", "hf_b");
        assert_eq!(of(&[old]), named("hf_b", old.0));
        assert_eq!(of(&[old, ("HF_TOKEN", "hf_a")]), named("hf_a", "HF_TOKEN"));
        assert_eq!(
            of(&[("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1"), ("HF_TOKEN", "hf_a")]),
            None
        );
        let other = format!("{home}/other");
        fs::write(&other, "hf_other").expect("writable");
        assert_eq!(of(&[("HF_TOKEN_PATH", &other)]), named("hf_other", &other));
        // A folder, and what no header can hold.
        let error = |variable| settings(&[variable]).err().expect("unusable").to_string();
        let folder = error(("HF_TOKEN_PATH", home));
        assert!(
            folder.contains(home) && folder.contains("HF_TOKEN"),
            "{folder}"
        );
        let words = error(("HF_TOKEN", "my tökén"));
        assert!(
            words.contains("`HF_TOKEN`") && !words.contains("kén"),
            "{words}"
        );
    }
}
