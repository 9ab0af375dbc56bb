use std::net::TcpListener;

use super::{ended, run, run_with_input, tidings};

/// An endpoint where nothing listens.
fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    format!("http://{address}")
}

#[test]
fn every_client_command_says_where_it_looked_and_what_to_do() {
    let endpoint = nowhere();
    for arguments in [
        &["watch", "x"][..],
        &["status", "x"],
        &["cancel", "x"],
        &["retry", "x"],
        &["list"],
        &["resume", "x"],
    ] {
        let arguments = [&["--endpoint", endpoint.as_str()], arguments].concat();
        let (code, stdout, stderr) = run(&arguments);
        assert_eq!((code, stdout.as_str()), (3, ""), "{arguments:?}: {stderr}");
        assert!(
            stderr.contains(&format!("no server answers at {endpoint}")),
            "{stderr}"
        );
        assert!(stderr.contains("Connection refused"), "{stderr}");
        assert!(stderr.contains("`tidings serve`"), "{stderr}");
    }
    let arguments = ["submit", "-", "--endpoint", endpoint.as_str()];
    assert_eq!(run_with_input(&arguments, "hello\n").0, 3);
}

#[test]
fn the_endpoint_comes_from_the_environment_too_and_the_flag_wins() {
    let (from_variable, from_flag) = (nowhere(), nowhere());
    let mut command = tidings(&["list"]);
    command.env("TIDINGS_ENDPOINT", &from_variable);
    let (_, _, stderr) = ended(&command.output().expect("the binary runs"));
    assert!(stderr.contains(&from_variable), "{stderr}");
    command.args(["--endpoint", &from_flag]);
    let (_, _, stderr) = ended(&command.output().expect("the binary runs"));
    assert!(stderr.contains(&from_flag), "{stderr}");
}
