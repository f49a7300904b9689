//! Settings in the environment: `FINGERPOST_RATE_LIMIT=50`.
//!
//! A variable with our prefix that no setting has is an error, since a typo there is as harmful as
//! one in the file. Excepted is what Kubernetes puts into every container of a namespace in which a
//! Service is called `fingerpost`, such as `FINGERPOST_PORT_8190_TCP_ADDR`.

use std::ffi::OsString;
use std::path::PathBuf;

use super::Given;
use super::error::{ConfigProblem, SettingOrigin, place};
use super::schema::{Setting, SettingsSchema, VARIABLE_PREFIX, nearest};

/// The variable that names the file of settings.
pub(super) const CONFIG_VARIABLE: &str = "FINGERPOST_CONFIG";

/// The settings in the environment.
pub(super) struct Environment {
    /// The file of settings; an empty variable names none.
    pub(super) config: Option<PathBuf>,
    pub(super) given: Vec<Given>,
    pub(super) problems: Vec<ConfigProblem>,
}

/// Reads the settings among `variables`, and their problems.
pub(super) fn read(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    schema: &SettingsSchema,
) -> Environment {
    let mut environment = Environment { config: None, given: Vec::new(), problems: Vec::new() };
    for (variable, value) in variables {
        let variable = variable.to_string_lossy();
        if !variable.starts_with(VARIABLE_PREFIX) {
            continue;
        }
        if variable == CONFIG_VARIABLE {
            environment.config = (!value.is_empty()).then(|| PathBuf::from(value));
        } else if let Some(setting) = schema.settings().find(|known| known.variable() == variable) {
            match read_value(setting, value) {
                Ok(given) => environment.given.push(given),
                Err(problem) => environment.problems.push(problem),
            }
        } else if !is_service_link(&variable, &value.to_string_lossy()) {
            environment.problems.push(unknown(&variable, schema));
        }
    }
    environment
}

fn read_value(setting: Setting<'_>, value: OsString) -> Result<Given, ConfigProblem> {
    let origin = SettingOrigin::Environment(setting.variable());
    let read = match value.to_str() {
        Some(text) => setting.read(text),
        None => Err("not valid UTF-8".to_owned()),
    };
    match read {
        Ok(value) => Ok(Given { name: setting.name().to_owned(), value, origin }),
        Err(reason) => Err(ConfigProblem::Value {
            place: place(setting.name(), &origin),
            expected: setting.expected(),
            found: setting.found(&format!("{value:?}")),
            reason,
        }),
    }
}

fn unknown(variable: &str, schema: &SettingsSchema) -> ConfigProblem {
    let known: Vec<_> = schema.settings().map(Setting::variable).collect();
    let known = known.iter().map(String::as_str).chain([CONFIG_VARIABLE]);
    // The common prefix would make all names similar.
    let bare = |name| str::strip_prefix(name, VARIABLE_PREFIX).unwrap_or(name);
    let nearest = nearest(bare(variable), known.map(bare));
    ConfigProblem::Unknown {
        place: "environment variable ".to_owned(),
        name: variable.to_owned(),
        nearest: nearest.map(|name| format!("{VARIABLE_PREFIX}{name}")),
    }
}

/// Whether Kubernetes or Docker's links made this variable for a service called `fingerpost...`.
fn is_service_link(variable: &str, value: &str) -> bool {
    let after_port = variable.rsplit_once("_PORT_").map(|(_, rest)| rest);
    let is_port_number = |text: &str| text.parse::<u16>().is_ok();
    variable.ends_with("_SERVICE_HOST")
        || variable.contains("_SERVICE_PORT")
        || (variable.ends_with("_PORT") && value.contains("://"))
        || after_port.and_then(|rest| rest.split('_').next()).is_some_and(is_port_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> (Vec<(String, String)>, Vec<String>) {
        let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
        let environment = read(variables, &SettingsSchema::new());
        (
            environment.given.into_iter().map(|given| (given.name, given.value)).collect(),
            environment.problems.iter().map(ToString::to_string).collect(),
        )
    }

    #[test]
    fn settings_are_taken_and_foreign_variables_left_alone() {
        let (given, problems) = environment(&[
            ("PATH", "/bin"),
            ("FINGERPOST_RATE_LIMIT", "5"),
            ("FINGERPOST_ACCESS_LOG", "1"),
            ("FINGERPOST_TRUSTED_PROXIES", "10.0.0.0/8,::1"),
            ("FINGERPOST_RATE_LIMIT_EXEMPT", ""),
        ]);
        assert_eq!(problems, Vec::<String>::new());
        let expected = [
            ("rate_limit", "5"),
            ("access_log", "true"),
            ("trusted_proxies", "10.0.0.0/8,::1/128"),
            ("rate_limit_exempt", ""),
        ];
        assert_eq!(given, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn a_typo_is_named_with_the_nearest_variable() {
        let (_, problems) = environment(&[("FINGERPOST_RATELIMIT", "5")]);
        assert_eq!(
            problems,
            ["environment variable `FINGERPOST_RATELIMIT` is no setting, \
              did you mean `FINGERPOST_RATE_LIMIT`?"]
        );
        let (_, problems) = environment(&[("FINGERPOST_QQQ", "5")]);
        assert_eq!(problems, ["environment variable `FINGERPOST_QQQ` is no setting"]);
    }

    #[test]
    fn a_wrong_value_is_named_with_its_variable() {
        let (_, problems) = environment(&[("FINGERPOST_RATE_LIMIT", "many")]);
        assert_eq!(
            problems,
            ["environment variable FINGERPOST_RATE_LIMIT: expected a whole number, \
              found \"many\" (invalid digit found in string)"]
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_value_that_is_no_text_is_a_problem_not_a_panic() {
        use std::os::unix::ffi::OsStringExt;
        let variables = [("FINGERPOST_DATA_DIR".into(), OsString::from_vec(vec![0xff]))];
        let problems = read(variables, &SettingsSchema::new()).problems;
        assert!(problems[0].to_string().ends_with("(not valid UTF-8)"), "{problems:?}");
    }

    #[test]
    fn what_kubernetes_sets_for_a_service_of_our_name_is_no_typo() {
        let (given, problems) = environment(&[
            ("FINGERPOST_SERVICE_HOST", "10.0.0.1"),
            ("FINGERPOST_SERVICE_PORT", "8190"),
            ("FINGERPOST_SERVICE_PORT_HTTP", "8190"),
            ("FINGERPOST_PORT", "tcp://10.0.0.1:8190"),
            ("FINGERPOST_PORT_8190_TCP", "tcp://10.0.0.1:8190"),
            ("FINGERPOST_PORT_8190_TCP_ADDR", "10.0.0.1"),
            ("FINGERPOST_ADMIN_PORT_8191_TCP_PROTO", "tcp"),
        ]);
        assert_eq!((given.len(), problems), (0, Vec::new()));
        assert_eq!(environment(&[("FINGERPOST_PORT", "8190")]).1.len(), 1);
    }

    #[test]
    fn no_setting_looks_like_what_kubernetes_sets() {
        for setting in SettingsSchema::new().settings() {
            assert!(!is_service_link(&setting.variable(), "tcp://"), "{}", setting.name());
        }
    }
}
