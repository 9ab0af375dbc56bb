use secrecy::ExposeSecret as _;

use super::*;
use crate::config::environment::API_KEY;

#[test]
fn the_key_comes_from_the_flag_then_ours_then_openais_then_the_file() {
    let flag_key = file("from-flag\n");
    let toml_key = file("from-toml\r\n");
    let toml = file(&format!(
        "[upstream]\napi_key_file = '{}'",
        toml_key.path().display()
    ));
    let mut flags = Flags {
        upstream_api_key_file: Some(flag_key.path().display().to_string()),
        ..with_file(toml.path())
    };
    let mut variables = variables(&[(API_KEY, "ours"), ("OPENAI_API_KEY", "openai")]);
    let key = |flags: &Flags, variables: &Variables| {
        let upstream = Config::load(flags, variables).unwrap().upstream;
        upstream.api_key.map(|key| key.expose_secret().to_owned())
    };
    assert_eq!(key(&flags, &variables).as_deref(), Some("from-flag"));
    flags.upstream_api_key_file = None;
    assert_eq!(key(&flags, &variables).as_deref(), Some("ours"));
    variables.insert(API_KEY.to_owned(), String::new());
    assert_eq!(key(&flags, &variables).as_deref(), Some("openai"));
    variables.clear();
    assert_eq!(key(&flags, &variables).as_deref(), Some("from-toml"));
    assert_eq!(key(&Flags::default(), &variables), None);
}

#[test]
fn a_key_that_no_header_can_carry_is_refused_without_being_shown() {
    let message = fault(API_KEY, "two words");
    assert!(
        message.contains("HTTP header") && !message.contains("two"),
        "{message}"
    );
    let twice = file("key\n\n");
    let flags = Flags {
        upstream_api_key_file: Some(twice.path().display().to_string()),
        ..Flags::default()
    };
    let text = Config::load(&flags, &Variables::new())
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("--upstream-api-key-file: the key holds"),
        "{text}"
    );
}

#[test]
fn no_face_of_the_configuration_shows_a_secret() {
    let config = from_variables(&[
        (
            "TIDINGS_STORE",
            "redis://user:hunter2@h:6379/0?token=hunter2",
        ),
        ("TIDINGS_UPSTREAM_API_KEY", "hunter2"),
        ("TIDINGS_UPSTREAM_URL", "https://h/v1?key=hunter2"),
    ])
    .unwrap();
    for face in [
        format!("{config}"),
        format!("{config:?}"),
        format!("{config:#?}"),
    ] {
        assert!(!face.contains("hunter2"), "{face}");
    }
    let text = config.to_string();
    assert!(text.contains("store = redis://h:6379/0\n"), "{text}");
    assert!(text.contains("upstream.api_key = set\n"), "{text}");
    assert!(
        Config::default()
            .to_string()
            .contains("upstream.api_key = not set\n")
    );
}
