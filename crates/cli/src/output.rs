//! Files that a user names for a command to write. The one rule: an output is never an input, and a file that is there is
//! replaced only with `--overwrite`. What lies in a folder of a run belongs to `dmdr`, which replaces it as it needs to.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use dmdr_config::ReferencedFile;
use dmdr_events::RunDir;

/// Whether files may be replaced.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct Overwrite {
    /// Replace files that are there already.
    #[arg(long)]
    overwrite: bool,
}

impl Overwrite {
    /// Whether a command that reads `inputs`, files and folders, may write `outputs`. To be asked before any work.
    ///
    /// # Errors
    /// An output that is an input or lies in a pipeline that is one, is there already, is a folder, or occurs twice.
    pub(crate) fn check(self, outputs: &[PathBuf], inputs: &[PathBuf]) -> Result<()> {
        let inputs: Vec<(&PathBuf, PathBuf)> = inputs
            .iter()
            .filter_map(|input| Some((input, input.canonicalize().ok()?)))
            .collect();
        let mut seen = Vec::new();
        for output in outputs {
            let place = place(output)?;
            if seen.contains(&place) {
                bail!(
                    "`{}` is named twice: give each output its own file",
                    output.display()
                );
            }
            // Links, hard ones too, lead to the same file.
            let is_there = fs::symlink_metadata(output).is_ok();
            let same = inputs.iter().find(|(_, input)| {
                let is_within = place.starts_with(input);
                // A pipeline takes no further files either: its readers would meet them.
                (is_within && (is_there || input.join("model_index.json").is_file()))
                    || is_same_file(&place, input)
            });
            if let Some((input, _)) = same {
                bail!(
                    "`{}` is an input of this command (`{}`): name another file",
                    output.display(),
                    input.display()
                );
            }
            if output.is_dir() {
                bail!("`{}` is a folder: name a file in it", output.display());
            }
            if is_there && !self.overwrite {
                bail!(
                    "`{}` is there already: name another file, or replace it with `--overwrite`",
                    output.display()
                );
            }
            seen.push(place);
        }
        Ok(())
    }
}

/// Where `output` lies, past all links; a file that is not there yet, in its folder.
fn place(output: &Path) -> Result<PathBuf> {
    if let Ok(place) = output.canonicalize() {
        return Ok(place);
    }
    let Some(name) = output.file_name() else {
        bail!("`{}` is no name of a file", output.display());
    };
    let folder = match output.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // A folder that is missing, or that the command makes, holds no input.
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    Ok(folder.join(name))
}

#[cfg(unix)]
fn is_same_file(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    match (fs::metadata(a), fs::metadata(b)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

#[cfg(not(unix))]
fn is_same_file(a: &Path, b: &Path) -> bool {
    a == b
}

/// Checks that the folder in which the file `output` will be made is there, and that files can be made in it.
///
/// # Errors
/// If not.
pub(crate) fn check_folder(output: &Path) -> Result<()> {
    let folder = match output.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        bail!(
            "`{}` cannot be written: there is no folder `{}`; make it first",
            output.display(),
            folder.display()
        );
    }
    // Permissions do not tell it: a disk may be read-only, a user may be root.
    let probe = folder.join(format!(".dmdr-{}.tmp", std::process::id()));
    fs::File::create(&probe)
        .and_then(|_| fs::remove_file(&probe))
        .with_context(|| format!("`{}` cannot be written", output.display()))
}

/// Checks that `output` ends as the format does that is written to it.
///
/// # Errors
/// If its extension is none of `extensions`.
pub(crate) fn check_extension(output: &Path, extensions: &[&str]) -> Result<()> {
    let own = output.extension().unwrap_or_default().to_string_lossy();
    if extensions.iter().any(|one| own.eq_ignore_ascii_case(one)) {
        return Ok(());
    }
    let expected: Vec<String> = extensions.iter().map(|one| format!("`.{one}`")).collect();
    bail!(
        "`{}` has no extension that can be written there: expected {}",
        output.display(),
        expected.join(" or ")
    );
}

/// Weights that a command writes: a safetensors file in a folder that is there.
///
/// # Errors
/// As for [`check_extension`] and [`check_folder`].
pub(crate) fn check_weights(output: &Path) -> Result<()> {
    check_extension(output, &["safetensors"])?;
    check_folder(output)
}

/// What a command with the config `config` reads.
pub(crate) fn inputs(config: &Path, files: &[ReferencedFile]) -> Vec<PathBuf> {
    let files = files.iter().map(|file| file.path.clone());
    [config.to_owned()].into_iter().chain(files).collect()
}

/// What a command that opens the run in `folder` reads: the run, and what its config names.
///
/// # Errors
/// A folder that is no run, or a config that cannot be read.
pub(crate) fn inputs_of_run(folder: &Path) -> Result<Vec<PathBuf>> {
    let run = RunDir::open(folder)?;
    let experiment = dmdr_config::Experiment::load(run.config(), &[])?;
    Ok(inputs(folder, &experiment.referenced_files()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSE: Overwrite = Overwrite { overwrite: false };
    const REPLACE: Overwrite = Overwrite { overwrite: true };

    fn check(overwrite: Overwrite, outputs: &[&PathBuf], inputs: &[&PathBuf]) -> Result<()> {
        let [outputs, inputs] = [outputs, inputs]
            .map(|paths| -> Vec<PathBuf> { paths.iter().map(|&path| path.clone()).collect() });
        overwrite.check(&outputs, &inputs)
    }

    #[track_caller]
    fn refused(overwrite: Overwrite, outputs: &[&PathBuf], inputs: &[&PathBuf]) -> String {
        let error = check(overwrite, outputs, inputs).expect_err("refused");
        error.to_string()
    }

    #[test]
    fn a_file_that_is_there_is_replaced_on_demand_only() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("a.png");
        check(REFUSE, &[&path], &[]).expect("not there");
        fs::write(&path, "old").expect("writable");
        let error = refused(REFUSE, &[&path], &[]);
        assert!(
            error.contains("a.png") && error.contains("--overwrite"),
            "{error}"
        );
        check(REPLACE, &[&path], &[]).expect("wanted");
        let error = refused(REPLACE, &[&dir.path().to_owned()], &[]);
        assert!(error.contains("is a folder"), "{error}");
        let again = dir.path().join(".").join("a.png");
        let error = refused(REPLACE, &[&path, &again], &[]);
        assert!(error.contains("twice"), "{error}");
    }

    #[test]
    fn an_input_is_never_an_output() {
        let dir = tempfile::tempdir().expect("temp dir");
        let input = dir.path().join("base/model.safetensors");
        fs::create_dir(dir.path().join("base")).expect("writable");
        fs::write(&input, "weights").expect("writable");
        let other = dir.path().join("other.safetensors");
        let spelled = dir.path().join("base/../base/model.safetensors");
        for output in [&input, &spelled] {
            for of in [&input, &dir.path().join("base")] {
                let error = refused(REPLACE, &[output], &[of]);
                assert!(error.contains("is an input"), "{error}");
            }
        }
        #[cfg(unix)]
        {
            let (link, hard) = (dir.path().join("link"), dir.path().join("hard"));
            std::os::unix::fs::symlink(&input, &link).expect("writable");
            fs::hard_link(&input, &hard).expect("writable");
            for output in [link, hard] {
                let error = refused(REPLACE, &[&output], &[&input]);
                assert!(error.contains("is an input"), "{error}");
            }
        }
        check(REPLACE, &[&other], &[&input]).expect("another file");
        let base = dir.path().join("base");
        let new = base.join("new.safetensors");
        check(REPLACE, &[&new], &[&base]).expect("a new file");
        // A pipeline's readers would meet it.
        fs::write(base.join("model_index.json"), "{}").expect("writable");
        let error = refused(REPLACE, &[&new], &[&base]);
        assert!(error.contains("is an input"), "{error}");
    }

    #[test]
    fn extensions_and_folders() {
        check_extension(Path::new("a.PNG"), &["png", "jpg"]).expect("a picture");
        let error = check_extension(Path::new("a.webp"), &["png", "jpg"]).expect_err("no such");
        assert!(error.to_string().contains("`.png` or `.jpg`"), "{error}");
        check_extension(Path::new("png"), &["png"]).expect_err("no extension");
        check_weights(Path::new("a.safetensors")).expect("here");
        let error = check_weights(Path::new("nowhere/a.safetensors")).expect_err("no folder");
        assert!(error.to_string().contains("no folder `nowhere`"), "{error}");
        #[cfg(target_os = "linux")]
        {
            let error = check_folder(Path::new("/proc/a")).expect_err("nobody can");
            assert!(
                error.to_string().contains("`/proc/a` cannot be written"),
                "{error}"
            );
        }
    }
}
