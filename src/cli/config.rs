//! `fingerpost config`: prints the effective settings as a file that loads again, each with its
//! origin; checks them; or prints the example file.
//!
//! Wrong settings are returned as an error, which makes the process end with 2.

use std::io::Write;
use std::process::ExitCode;

use clap::Args;

use crate::config::{ConfigError, Loaded, SettingOrigin, example};

/// What `fingerpost config` takes beside the settings.
#[derive(Args, Debug)]
pub(crate) struct ConfigArgs {
    /// Only check the settings: says ok, or all that is wrong
    #[arg(long, conflicts_with = "example")]
    check: bool,

    /// Print the example file: every setting with its meaning, at its default
    #[arg(long)]
    example: bool,
}

/// Runs the command; the settings are only loaded where they are asked for.
pub(crate) fn run(
    args: &ConfigArgs,
    load: impl FnOnce() -> Result<Loaded, ConfigError>,
    stdout: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    if args.example {
        write!(stdout, "{}", example())?;
    } else if args.check {
        writeln!(stdout, "{}", summary(&load()?))?;
    } else {
        write!(stdout, "{}", load()?.to_toml())?;
    }
    stdout.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// One line: that the settings are in order, and how many each source gave.
fn summary(loaded: &Loaded) -> String {
    let (mut defaults, mut file, mut environment, mut flags) = (0, 0, 0, 0);
    for effective in loaded.effective() {
        *match effective.origin {
            SettingOrigin::Default | SettingOrigin::Setting(_) => &mut defaults,
            SettingOrigin::File { .. } => &mut file,
            SettingOrigin::Environment(_) => &mut environment,
            SettingOrigin::Flag(_) => &mut flags,
        } += 1;
    }
    let sections = match loaded.sections().len() {
        0 => String::new(),
        1 => "; 1 section".to_owned(),
        count => format!("; {count} sections"),
    };
    format!(
        "ok: {file} settings from the file, {environment} from the environment, \
         {flags} from flags, {defaults} at their default{sections}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, with_settings};
    use clap::Command;

    fn printed(args: &ConfigArgs, flags: &[&str]) -> anyhow::Result<String> {
        let command = with_settings(Command::new("test").no_binary_name(true));
        let matches = command.try_get_matches_from(flags).unwrap();
        let mut stdout = Vec::new();
        run(args, || config::load(&matches, Vec::new()), &mut stdout)?;
        Ok(String::from_utf8(stdout).unwrap())
    }

    #[test]
    fn the_effective_settings_are_printed_with_their_origin() {
        let args = ConfigArgs { check: false, example: false };
        let text = printed(&args, &["--rate-limit=7"]).unwrap();
        let line = text.lines().find(|line| line.starts_with("rate_limit = 7 ")).unwrap();
        assert!(line.ends_with(" # flag --rate-limit"), "{line}");
    }

    #[test]
    fn check_says_ok_or_fails_with_what_is_wrong() {
        let args = ConfigArgs { check: true, example: false };
        let text = printed(&args, &["--rate-limit=7"]).unwrap();
        assert!(text.starts_with("ok: 0 settings from the file, 0 from the environment, 1 from"));
        assert_eq!(text.lines().count(), 1);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f.toml");
        std::fs::write(&path, "[[upstream]]\nname = 'east'\nurl = 'https://u:pw@h'").unwrap();
        let path = path.to_str().unwrap();
        let text = printed(&args, &["--config", path]).unwrap();
        assert!(text.ends_with(" at their default; 1 section\n"), "{text}");
        let error = printed(&args, &["--json-records-max=0"]).unwrap_err();
        assert!(error.is::<ConfigError>(), "{error}");
    }

    #[test]
    fn the_example_is_printed_whatever_the_settings_are() {
        let args = ConfigArgs { check: false, example: true };
        assert_eq!(printed(&args, &["--json-records-max=0"]).unwrap(), example());
    }
}
