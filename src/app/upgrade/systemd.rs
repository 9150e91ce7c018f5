//! What a service manager is told (`sd_notify(3)`), where there is one that listens.

use std::os::unix::net::UnixDatagram;

/// Tells it; without one, or where it does not listen, nobody is told.
pub(in crate::app) fn notify(state: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let told = UnixDatagram::unbound().and_then(|socket| send(&socket, &path, state.as_bytes()));
    if let Err(error) = told {
        tracing::debug!(%error, "the service manager was not told");
    }
}

fn send(socket: &UnixDatagram, path: &std::ffi::OsStr, state: &[u8]) -> std::io::Result<usize> {
    #[cfg(target_os = "linux")]
    if let Some(name) = std::os::unix::ffi::OsStrExt::as_bytes(path).strip_prefix(b"@") {
        use std::os::linux::net::SocketAddrExt;
        let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
        return socket.send_to_addr(state, &address);
    }
    socket.send_to(state, path)
}

/// Why a process that this one starts could not outlive it; `None`: it could.
pub(super) fn ends_with_this_process() -> Option<&'static str> {
    let own = std::process::id();
    if own == 1 {
        return Some("this is the first process of its container, which ends with it");
    }
    let is_main = std::env::var("SYSTEMD_EXEC_PID").is_ok_and(|pid| pid == own.to_string());
    (is_main && std::env::var_os("NOTIFY_SOCKET").is_none())
        .then_some("systemd would end the new process with this one: its unit needs Type=notify")
}
