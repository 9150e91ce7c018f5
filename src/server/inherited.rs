//! Listening sockets that whoever started this process has opened for it, as systemd's socket activation does
//! (`sd_listen_fds(3)`): known by name (`FileDescriptorName=`), else by their position.

use std::io;
use std::sync::OnceLock;

use super::stream::Listening;

/// The sockets that this process was given, for as long as it runs: a listener that a reload takes away may come back.
static GIVEN: OnceLock<Vec<Given>> = OnceLock::new();

#[derive(Debug)]
struct Given {
    name: String,
    socket: Listening,
}

/// Takes over what this process was given. To be called once, before any thread is started: what said so is taken
/// out of the environment, so that no child process believes that it was meant.
pub fn adopt() {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut given = listenfd::ListenFd::from_env();
    let names: Vec<&str> = names.split(':').collect();
    let sockets = (0..given.len()).filter_map(|index| {
        let tcp = given.take_tcp_listener(index).ok().flatten().map(Listening::Tcp);
        let socket = tcp.or_else(|| given.take_unix_listener(index).ok().flatten().map(Listening::Unix))?;
        let name = names.get(index).copied().unwrap_or_default().to_owned();
        Some(Given { name, socket })
    });
    let sockets = sockets.collect();
    // A second call finds nothing to take over.
    let _ = GIVEN.set(sockets);
}

/// Another descriptor of the socket that was given under `name`; the empty name means the only one.
pub(super) fn socket(name: &str) -> io::Result<Listening> {
    let given = GIVEN.get().map_or(&[][..], Vec::as_slice);
    find(given, name)?.socket.try_clone()
}

fn find<'g>(given: &'g [Given], name: &str) -> io::Result<&'g Given> {
    let named: Vec<&Given> = given.iter().filter(|one| name.is_empty() || one.name == name).collect();
    match named[..] {
        [one] => Ok(one),
        [] => name.parse().ok().and_then(|at: usize| given.get(at)).ok_or_else(|| {
            let names: Vec<&str> = given.iter().map(|one| one.name.as_str()).collect();
            let had = match names.is_empty() {
                true => "this process was given no socket".to_owned(),
                false => format!("this process was given: {}", names.join(", ")),
            };
            io::Error::new(io::ErrorKind::NotFound, had)
        }),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("this process was given {} such sockets: name one, or say its position", named.len()),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(names: &[&str]) -> Vec<Given> {
        let socket = || Listening::Tcp(std::net::TcpListener::bind("127.0.0.1:0").expect("bound"));
        names.iter().map(|name| Given { name: (*name).into(), socket: socket() }).collect()
    }

    #[test]
    fn a_socket_is_found_by_name_by_position_and_by_being_the_only_one() {
        let three = given(&["web", "api", "api"]);
        assert!(std::ptr::eq(find(&three, "web").expect("named"), &raw const three[0]));
        assert!(std::ptr::eq(find(&three, "2").expect("at its position"), &raw const three[2]));
        assert!(find(&three, "api").expect_err("two").to_string().contains("2 such sockets"));
        assert!(find(&three, "").expect_err("three").to_string().contains("3 such sockets"));
        assert!(find(&three, "www").expect_err("none").to_string().contains("web, api, api"));
        assert!(find(&three, "3").is_err());
        assert!(find(&given(&["x"]), "").is_ok());
        assert!(find(&[], "").expect_err("none").to_string().contains("no socket"));
    }
}
