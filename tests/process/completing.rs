//! What bash completes, by the script that is handed out.

use std::process::{Command, Stdio};

use crate::support::{Answer, Client, Origin, Place, Proxy, eventually, finish, skip};

/// Takes a line apart as bash does, and prints what would stand there then. `COMP_WORDS` is what readline makes of a line
/// with bash's own `COMP_WORDBREAKS`.
const COMPLETES: &str = r#"
proxy-stone() { "$BINARY" "$@"; }
COMP_LINE=$1 COMP_POINT=${#1}
shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
last=${!#}
[[ $last == : || $last == = ]] && last=
_proxy_stone proxy-stone "$last" ''
IFS=$'\n'
echo "${COMPREPLY[*]}"
"#;

/// The candidates for a line of these words.
fn candidates(place: &Place, line: &str, words: &[&str]) -> Vec<String> {
    let script = place.print(&["completions", "bash"]);
    let binary = place.command(&[]);
    let mut bash = Command::new("bash");
    bash.args(["--norc", "-c", &(script + COMPLETES), "bash", line]).args(words).env_clear();
    bash.envs(binary.get_envs().filter_map(|(name, value)| Some((name, value?))));
    bash.env("BINARY", binary.get_program());
    bash.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = finish(bash);
    assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{line:?}: {output:?}");
    output.stdout.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn bash_completes_urls_though_it_takes_them_apart() {
    if Command::new("bash").arg("--version").stdout(Stdio::null()).status().is_err() {
        return skip("there is no bash");
    }
    let place = Place::new();
    let origin = Origin::new(|_| Answer::fresh("here", 600));
    let proxy = Proxy::before(&place, &origin.url());
    for target in ["/plain", "/other"] {
        let asked = format!("GET {target} HTTP/1.1\r\nHost: {}\r\n\r\n", proxy.address);
        Client::connect(proxy.address).and_then(|mut client| client.ask(&asked)).unwrap();
    }
    eventually("both are stored", || (place.items(&["cache", "ls"]).len() == 2).then_some(()));
    let port = proxy.address.port().to_string();
    let url = format!("//127.0.0.1:{port}");
    let is = |line: &str, words: &[&str], wanted: &[&str]| {
        let mut told = candidates(&place, line, words);
        told.sort_unstable();
        assert_eq!(told, wanted, "{line:?}");
    };
    let show = ["proxy-stone", "cache", "show"];
    let shown = |word: &str| format!("proxy-stone  cache show {word}");
    let (plain, begun) = (format!("{port}/plain"), format!("{port}/pl"));
    let http = [&show[..], &["http", ":", "//127.0.0.1", ":"]].concat();
    is(&shown(&format!("http:{url}/pl")), &[&http[..], &[&begun]].concat(), &[&plain]);
    is(&shown("http://127.0.0.1:"), &http, &[&format!("{port}/other"), &plain]);
    let quoted = format!("\"http:{url}/pl");
    // Within quotes it takes nothing apart, and hands on what stands in them.
    is(&shown(&quoted), &[&show[..], &[&quoted[1..]]].concat(), &[&format!("http:{url}/plain")]);
    is(
        "proxy-stone cache purge --route=de",
        &["proxy-stone", "cache", "purge", "--route", "=", "de"],
        &["default"],
    );
    is("proxy-stone cache purge --route=", &["proxy-stone", "cache", "purge", "--route", "="], &["default"]);
    is("proxy-stone cache purge --route ", &["proxy-stone", "cache", "purge", "--route", ""], &["default"]);
    // `list` is another name of it.
    is("proxy-stone cache l", &["proxy-stone", "cache", "l"], &["ls"]);
    is("proxy-stone cache list --columns", &["proxy-stone", "cache", "list", "--columns"], &["--columns"]);
}
