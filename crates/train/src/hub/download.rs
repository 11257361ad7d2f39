//! One file of the hub comes into the cache: whole, checked, and once, even where two processes
//! want it.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    process, thread,
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest, Sha256};
use ureq::http::Method;

use super::{client::Query, error::HubError, remote::Remote};

/// Tries without a new byte before a download is given up.
const MAX_TRIES: usize = 5;
/// Bytes that are copied at once.
const BLOCK: usize = 1 << 20;

/// What the hub tells of a file.
struct Metadata {
    /// Its name among the blobs: a SHA-256 of large files.
    etag: String,
    /// Bytes.
    size: Option<u64>,
}

impl Metadata {
    /// What is wrong with `path`, if anything.
    fn fault(&self, path: &Path) -> io::Result<Option<String>> {
        let found = fs::metadata(path)?.len();
        if let Some(size) = self.size.filter(|size| *size != found) {
            return Ok(Some(format!("{found} bytes, expected {size}")));
        }
        let is_hash = self.etag.len() == 64 && self.etag.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_hash {
            return Ok(None);
        }
        let mut hash = Sha256::new();
        io::copy(&mut File::open(path)?, &mut hash)?;
        let hash = format!("{:x}", hash.finalize());
        let expected = self.etag.to_ascii_lowercase();
        Ok((hash != expected).then(|| format!("its SHA-256 is {hash}, expected {expected}")))
    }
}

impl Remote<'_> {
    /// Downloads `file` of `commit`, and gives its place in the snapshot.
    ///
    /// # Errors
    /// No answer, a refusal, a file that arrives damaged twice, or a cache that cannot be written.
    pub(super) fn download(&self, commit: &str, file: &str) -> Result<PathBuf, HubError> {
        let settings = self.settings();
        let url = self.repository.file(&settings.endpoint, commit, file);
        let metadata = self.metadata(&url, commit, file)?;
        let blob = self.cache.blob(&metadata.etag);
        let write = |path: &Path| {
            let path = path.to_owned();
            move |source| HubError::Write { path, source }
        };
        let folder = self.cache.folder.join("blobs");
        fs::create_dir_all(&folder).map_err(write(&folder))?;
        let lock = self.cache.lock(&metadata.etag);
        let is_there = fs::metadata(&blob).is_ok_and(|found| {
            let size = metadata.size.unwrap_or(found.len());
            found.is_file() && found.len() == size
        });
        if !is_there {
            // Without a lock nobody else may write to the same file.
            let part = match &lock {
                Some(_) => format!("{}.incomplete", metadata.etag),
                None => format!("{}.{}.incomplete", metadata.etag, process::id()),
            };
            let part = folder.join(part);
            self.fetch(&url, file, &metadata, &part)?;
            fs::rename(&part, &blob).map_err(write(&blob))?;
        }
        let entered = self.cache.enter(&metadata.etag, commit, file, !is_there);
        entered.map_err(write(&self.cache.snapshot(commit)))
    }

    fn metadata(&self, url: &str, commit: &str, file: &str) -> Result<Metadata, HubError> {
        let reply = self.client.send(&Query {
            method: Method::HEAD,
            url,
            start: 0,
            timeout: self.settings().etag_timeout,
            leaves_hub: false,
            is_repeated: true,
        })?;
        if reply.status() != 200 && !reply.is_redirect() {
            return Err(self.refused(reply, Some(file)));
        }
        let no_hub = |reason: String| HubError::NoHub {
            url: reply.url.clone(),
            reason,
        };
        if let Some(other) = reply
            .header("x-repo-commit")
            .filter(|found| *found != commit)
        {
            return Err(no_hub(format!("it has commit `{other}` for {commit}")));
        }
        // The first is that of the file itself, where another server has it.
        let etag = reply
            .header("x-linked-etag")
            .or_else(|| reply.header("etag"));
        let etag = etag.unwrap_or_default();
        let etag = etag.strip_prefix("W/").unwrap_or(etag).trim_matches('"');
        let is_simple = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if etag.is_empty() || etag.starts_with('.') || !etag.chars().all(is_simple) {
            return Err(no_hub(format!("`{etag}` is no ETag for a file's name")));
        }
        // Of a compressed answer it is another size.
        let is_plain = reply.header("content-encoding").is_none() && !reply.is_redirect();
        let own = || reply.header("content-length").filter(|_| is_plain);
        let size = reply.header("x-linked-size").or_else(own);
        Ok(Metadata {
            etag: etag.to_owned(),
            size: size.and_then(|size| size.parse().ok()),
        })
    }

    /// Fetches the whole file to `part`, once more where it arrives damaged.
    fn fetch(
        &self,
        url: &str,
        file: &str,
        metadata: &Metadata,
        part: &Path,
    ) -> Result<(), HubError> {
        let write = |source| HubError::Write {
            path: part.to_owned(),
            source,
        };
        let bar = self.bar(file, metadata.size);
        let mut is_again = false;
        loop {
            let transfer = self.transfer(url, file, metadata.size, part, &bar);
            bar.finish_and_clear();
            transfer?;
            let Some(reason) = metadata.fault(part).map_err(write)? else {
                return Ok(());
            };
            fs::remove_file(part).map_err(write)?;
            if is_again {
                let file = file.to_owned();
                return Err(HubError::Damaged { file, reason });
            }
            is_again = true;
        }
    }

    /// Fills `part` up to `size`, from where it ends, over as many requests as bring something new.
    fn transfer(
        &self,
        url: &str,
        file: &str,
        size: Option<u64>,
        part: &Path,
        bar: &ProgressBar,
    ) -> Result<(), HubError> {
        let write = |source| HubError::Write {
            path: part.to_owned(),
            source,
        };
        let options = File::options()
            .create(true)
            .append(true)
            .read(true)
            .open(part);
        let mut kept = options.map_err(write)?;
        let (mut tries, mut longest) = (0, 0);
        loop {
            let mut start = kept.metadata().map_err(write)?.len();
            // What is longer than the file cannot be a part of it; of a file without a size nobody
            // knows.
            if size.is_none_or(|size| start > size) {
                kept.set_len(0).map_err(write)?;
                start = 0;
            }
            if size == Some(start) {
                return Ok(());
            }
            bar.set_position(start);
            let reason = match self.receive(url, file, start, &mut kept, bar)? {
                Ok(()) if size.is_none() => return Ok(()),
                Ok(()) => "the server sends another number of bytes than it says".to_owned(),
                Err(reason) => reason,
            };
            let found = kept.metadata().map_err(write)?.len();
            if size == Some(found) {
                return Ok(());
            }
            tries = if found > longest { 0 } else { tries + 1 };
            longest = longest.max(found);
            if tries == MAX_TRIES {
                return Err(HubError::Broken {
                    file: file.to_owned(),
                    found,
                    reason,
                });
            }
            thread::sleep(Duration::from_millis(200 << tries));
        }
    }

    /// Appends what one request gives after byte `start`; the inner error is one that another
    /// request may mend.
    fn receive(
        &self,
        url: &str,
        file: &str,
        start: u64,
        kept: &mut File,
        bar: &ProgressBar,
    ) -> Result<Result<(), String>, HubError> {
        let reply = self.client.send(&Query {
            method: Method::GET,
            url,
            start,
            timeout: self.settings().download_timeout,
            leaves_hub: true,
            is_repeated: true,
        })?;
        let anew = |kept: &mut File| {
            bar.set_position(0);
            kept.set_len(0).map_err(|source| HubError::Write {
                path: self.cache.folder.join("blobs"),
                source,
            })
        };
        match reply.status() {
            206 if reply.first_byte() == Some(start) => {}
            // The part is of no use to this server.
            206 | 416 if start > 0 => {
                anew(kept)?;
                return Ok(Err(format!("status {} for a part", reply.status())));
            }
            200 => anew(kept)?,
            _ if !reply.is_success() => return Err(self.refused(reply, Some(file))),
            _ => {}
        }
        copy(reply.reader(), kept, bar).map_err(|source| HubError::Write {
            path: self.cache.folder.join("blobs"),
            source,
        })
    }

    fn bar(&self, file: &str, size: Option<u64>) -> ProgressBar {
        let style = ProgressStyle::with_template(
            "{msg}  {bar:28} {bytes}/{total_bytes}  {bytes_per_sec}  eta {eta}",
        );
        match style {
            Ok(style) if self.settings().bars => {
                let bar = ProgressBar::new(size.unwrap_or(0)).with_style(style);
                bar.with_message(file.to_owned())
            }
            _ => ProgressBar::hidden(),
        }
    }
}

/// Appends all of `from`. The inner error is the sender's, the outer one ours.
fn copy(mut from: impl Read, to: &mut File, bar: &ProgressBar) -> io::Result<Result<(), String>> {
    to.seek(SeekFrom::End(0))?;
    let mut block = vec![0; BLOCK];
    loop {
        match from.read(&mut block) {
            Ok(0) => break,
            Ok(count) => {
                to.write_all(&block[..count])?;
                bar.inc(count as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Ok(Err(error.to_string())),
        }
    }
    to.sync_all()?;
    Ok(Ok(()))
}
