mod endpoint;
mod price;
mod secret;

use std::{io::Write as _, path::Path};

use tempfile::NamedTempFile;

use super::*;

fn variables(pairs: &[(&str, &str)]) -> Variables {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn with_file(path: &Path) -> Flags {
    Flags {
        config: Some(path.to_owned()),
        ..Flags::default()
    }
}

fn from_file(text: &str) -> Result<Config, Faults> {
    Config::load(&with_file(file(text).path()), &Variables::new())
}

fn from_variables(pairs: &[(&str, &str)]) -> Result<Config, Faults> {
    Config::load(&Flags::default(), &variables(pairs))
}

/// The message of the one fault that this variable causes.
fn fault(name: &str, value: &str) -> String {
    let faults = from_variables(&[(name, value)]).unwrap_err();
    let all: Vec<&Fault> = faults.iter().collect();
    assert_eq!(all.len(), 1, "{faults}");
    assert_eq!(all[0].origin, name);
    all[0].message.clone()
}

#[test]
fn the_defaults_have_no_fault_and_are_those_of_the_table() {
    let config = Config::default();
    let entries: BTreeMap<_, _> = config.entries().into_iter().collect();
    for key in key::ALL {
        if let (Some(default), Some(value)) = (key.default, entries.get(key.path)) {
            let same_length = humantime::parse_duration(default)
                .ok()
                .is_some_and(|length| humantime::parse_duration(value).ok() == Some(length));
            assert!(same_length || value == default, "{}: {value}", key.path);
        }
    }
    assert_eq!(config.limits, Limits::default());
}

#[test]
fn the_example_names_every_key_and_says_the_defaults() {
    let text = include_str!("../../examples/tidings.toml");
    let config = from_file(text).unwrap();
    assert_eq!(config.entries(), Config::default().entries());
    for key in key::ALL {
        let name = key.path.rsplit('.').next().unwrap();
        assert!(
            text.contains(&format!("{name} = ")),
            "{} is missing",
            key.path
        );
        for place in [key.variable, key.flag].into_iter().flatten() {
            assert!(text.contains(place), "{place} is missing");
        }
    }
}

#[test]
fn the_environment_wins_over_the_file_and_a_flag_over_both() {
    let file = file("model = 'from-file'\nconcurrency = 7\nlease = '2s'");
    let variables = variables(&[("TIDINGS_MODEL", "from-env"), ("TIDINGS_CONCURRENCY", "8")]);
    let flags = Flags {
        model: Some("from-flag".to_owned()),
        ..with_file(file.path())
    };
    let config = Config::load(&flags, &variables).unwrap();
    assert_eq!(config.model, "from-flag");
    assert_eq!(config.concurrency, 8);
    assert_eq!(config.lease, Duration::from_secs(2));
}

#[test]
fn all_faults_are_reported_at_once_and_numbered_with_their_origin() {
    let file = file("lisen = '1.2.3.4:5'\nlease = '0s'\n[log]\nformat = 'xml'");
    let flags = Flags {
        concurrency: Some("0".to_owned()),
        ..with_file(file.path())
    };
    let variables = variables(&[("TIDINGS_STORE", "mysql://x"), ("TIDINGS_MODLE", "m")]);
    let text = Config::load(&flags, &variables).unwrap_err().to_string();
    let path = file.path().display().to_string();
    assert!(
        text.starts_with("the configuration has 6 faults:\n  1. "),
        "{text}"
    );
    for part in [
        &format!("{path}: lisen: no such key; did you mean `listen`?"),
        &format!("{path}: lease: `0s` is too short; the least is 1s"),
        &format!("{path}: log.format: `xml` is neither json nor pretty"),
        "--concurrency: `0` is not a whole number from 1 to 100000",
        "TIDINGS_STORE: is not a store; write embedded:PATH",
        "TIDINGS_MODLE: no such variable; did you mean `TIDINGS_MODEL`?",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
}

#[test]
fn an_unknown_key_of_a_section_or_an_unknown_section_is_named() {
    let text = from_file("[upstream]\nurll = 'x'\n[redsi]\npartitions = 1\n[listen]\na = 1")
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("upstream.urll: no such key; did you mean `upstream.url`?"),
        "{text}"
    );
    assert!(
        text.contains("redsi: no such key; did you mean `redis`?"),
        "{text}"
    );
    assert!(
        text.contains("listen: a table is no value for this key"),
        "{text}"
    );
    let text = from_file("[upstream]\napi_key = 'sk-secret'")
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("TIDINGS_UPSTREAM_API_KEY") && !text.contains("sk-secret"),
        "{text}"
    );
}

#[test]
fn a_file_that_cannot_be_read_is_a_fault_that_quotes_no_line() {
    let missing = Flags {
        config: Some("/nonexistent/tidings.toml".into()),
        ..Flags::default()
    };
    let text = Config::load(&missing, &Variables::new())
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("--config: cannot read /nonexistent/tidings.toml"),
        "{text}"
    );
    let text = from_file("model = 'm'\nstore = \"redis://:hunter2@h\nlease = 1")
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("line 2: not TOML") && !text.contains("hunter2"),
        "{text}"
    );
}

#[test]
fn client_variables_and_foreign_ones_are_no_faults() {
    from_variables(&[
        (ENDPOINT, "http://h:1"),
        ("PATH", "/bin"),
        ("tidings_x", "1"),
    ])
    .unwrap();
    assert!(fault("TIDINGS_ENDPONT", "x").contains("`TIDINGS_ENDPOINT`"));
    assert_eq!(fault("TIDINGS_ZZZ", "x"), "no such variable");
    assert_eq!(fault("TIDINGS_MODEL", "\u{fffd}"), "the value is not UTF-8");
}

#[test]
fn each_value_says_what_would_be_right() {
    assert!(fault("TIDINGS_LISTEN", "localhost").contains("write IP:PORT"));
    assert!(fault("TIDINGS_ADMIN_LISTEN", "off").contains("write IP:PORT"));
    assert!(fault("TIDINGS_LEASE", "15").contains("for example 500ms, 15s or 24h"));
    assert!(fault("TIDINGS_LEASE", "-1s").contains("is not a duration"));
    assert!(fault("TIDINGS_LEASE", "999ms").contains("the least is 1s"));
    assert!(fault("TIDINGS_LEASE", "1000y").contains("the most is 1day"));
    assert!(fault("TIDINGS_RESULT_RETENTION", "3y").contains("is too long"));
    assert!(fault("TIDINGS_CONCURRENCY", "100001").contains("from 1 to 100000"));
    assert!(fault("TIDINGS_MODEL", " ").contains("must not be empty"));
    assert!(fault("TIDINGS_LOG_FORMAT", "yaml").contains("neither json nor pretty"));
    assert!(fault("TIDINGS_LOG", "tidings=loud").contains("is not a log filter"));
    assert!(fault("TIDINGS_LOG", "inof").contains("did you mean `info`?"));
    from_variables(&[(
        "TIDINGS_LOG",
        "INFO,tidings::worker=debug,h2=trace,hyper=off",
    )])
    .unwrap();
}

#[test]
fn a_result_is_kept_at_least_as_long_as_its_history() {
    let text = from_variables(&[("TIDINGS_STATUS_RETENTION", "30d")])
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("default of result_retention: 7days is shorter"),
        "{text}"
    );
    assert!(text.contains("(TIDINGS_STATUS_RETENTION)"), "{text}");
    from_variables(&[("TIDINGS_STATUS_RETENTION", "7d")]).unwrap();
}

#[test]
fn a_task_fits_into_a_call() {
    let text = from_file("[limits]\nbatch_bytes = 1000")
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("limits.task_bytes: 1048576 is more than the 1000 bytes"),
        "{text}"
    );
}

#[test]
fn store_urls_are_read_and_shown_without_secrets() {
    let store = |text| from_variables(&[("TIDINGS_STORE", text)]).map(|config| config.store);
    assert_eq!(store("embedded:/a b").unwrap().to_string(), "embedded:/a b");
    assert_eq!(store("redis://h:1/2").unwrap().to_string(), "redis://h:1/2");
    assert_eq!(
        store("rediss://[::1]").unwrap().to_string(),
        "rediss://[::1]"
    );
    for (url, shown) in [
        (
            "redis+sentinel://:pw@a:1,b:2/m",
            "redis+sentinel://a:1,b:2/m",
        ),
        ("redis+cluster://u:pw@a:1,b:2", "redis+cluster://a:1,b:2"),
    ] {
        assert_eq!(store(url).unwrap().to_string(), shown);
    }
    for url in [
        "redis+sentinel://:pw@a:1",
        "redis+cluster://:pw@a:1/7",
        "redis+nothing://:pw@a",
    ] {
        let message = fault("TIDINGS_STORE", url);
        assert!(message.contains("redis+cluster://HOST"), "{message}");
        assert!(!message.contains("pw"), "{message}");
    }
    assert!(fault("TIDINGS_STORE", "embedded:").contains("names no directory"));
    assert!(fault("TIDINGS_STORE", "redis://h/first").contains("database number"));
    assert!(fault("TIDINGS_STORE", "/data").contains("is not a store"));
}

#[test]
fn redis_options_live_in_their_section() {
    let config =
        from_file("store = 'redis://h'\n[redis]\npartitions = 8\nallow_eviction = true").unwrap();
    let StoreConfig::Redis(redis) = config.store else {
        panic!("not redis");
    };
    assert_eq!((redis.partitions, redis.allow_eviction), (Some(8), true));
    let text = from_file("[redis]\npartitions = 4097")
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("redis.partitions: `4097` is not a whole number from 1 to 4096"),
        "{text}"
    );
}

#[test]
fn upstream_urls_are_absolute_and_hold_no_key() {
    let name = "TIDINGS_UPSTREAM_URL";
    from_variables(&[(name, "http://127.0.0.1:8080/v1?api-version=1")]).unwrap();
    for text in ["api.openai.com/v1", "ftp://h/v1", "/v1", "http://"] {
        assert!(
            fault(name, text).contains("https://api.openai.com/v1"),
            "{text}"
        );
    }
    let message = fault(name, "https://me:hunter2@h/v1");
    assert!(message.contains("TIDINGS_UPSTREAM_API_KEY") && !message.contains("hunter2"));
}

#[test]
fn what_the_server_bears_is_read_and_has_room_for_one_call() {
    let config = from_file(
        "[limits]\nwatches = 7\nstreams_per_connection = 9\n[connection]\nmax_age = '1h'\nage_grace = '2m'",
    )
    .unwrap();
    assert_eq!(config.transport.watches, 7);
    assert_eq!(config.transport.streams_per_connection, 9);
    assert_eq!(config.transport.max_age, Duration::from_secs(3_600));
    assert_eq!(config.transport.age_grace, Duration::from_secs(120));
    let text = from_file("[limits]\nrequest_bytes = 8388607")
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("limits.request_bytes: 8388607 is less than 8388608, twice the bytes"),
        "{text}"
    );
}

#[test]
fn the_queue_holds_the_largest_call_in_every_partition() {
    let config = from_file("[limits]\nqueue_tasks = 1000\nqueue_bytes = 4194304").unwrap();
    let expected = Capacity {
        tasks: 1_000,
        bytes: 4 << 20,
    };
    assert_eq!(config.capacity, expected);
    let faults = from_file("[limits]\nqueue_tasks = 999\nqueue_bytes = 4194303").unwrap_err();
    let said = faults.to_string();
    assert!(said.contains("999 is less than the 1000 a call"), "{said}");
    assert!(said.contains("4194303 is less than the 4194304"), "{said}");
    let four = "store = \"redis://h\"\n[redis]\npartitions = 4\n[limits]\nqueue_tasks = ";
    assert!(from_file(&format!("{four}3997")).is_ok());
    let faults = from_file(&format!("{four}3996")).unwrap_err().to_string();
    assert!(
        faults.contains("3996, 999 in each of 4 partitions, is less than"),
        "{faults}"
    );
}

#[test]
fn a_full_store_names_the_keys_to_raise() {
    use crate::store::{Error, Load};
    let none = Capacity { tasks: 0, bytes: 0 };
    for (load, key) in [
        (Load { tasks: 1, bytes: 0 }, key::LIMITS_QUEUE_TASKS),
        (Load { tasks: 0, bytes: 1 }, key::LIMITS_QUEUE_BYTES),
    ] {
        let refusal = none.check(1, Load::default(), load);
        let Err(Error::Full(cause)) = refusal else {
            panic!("{refusal:?}");
        };
        assert!(cause.contains(key.path), "{cause}");
    }
}

#[test]
fn a_limit_of_the_upstream_is_a_number_or_left_to_be_found() {
    let config = from_file(
        "[upstream]\nrequests_per_minute = 500\ntokens_per_minute = \"auto\"\nadaptive_concurrency = true",
    )
    .unwrap();
    let upstream = config.upstream;
    assert_eq!(upstream.requests_per_minute.map(u64::from), Some(500));
    assert_eq!(upstream.tokens_per_minute, None);
    assert!(upstream.adaptive_concurrency);
    for wrong in ["0", "-1", "\"many\""] {
        let faults = from_file(&format!("[upstream]\nrequests_per_minute = {wrong}")).unwrap_err();
        let said = faults.to_string();
        assert!(said.contains("and not auto"), "{said}");
    }
}
