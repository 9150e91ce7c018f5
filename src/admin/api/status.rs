//! How the instance is doing; reload and stop.

use serde::{Deserialize, Serialize};

/// How the instance is doing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The instance's name.
    pub instance: String,
    /// The version of the binary.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// The process that it has taken over from, while that one finishes what is in flight there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predecessor: Option<u32>,
    /// Where it is in its life.
    pub state: State,
    /// Whether it is ready for clients.
    pub ready: bool,
    /// Why it isn't ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_ready: Option<String>,
    /// When it started, milliseconds since the Unix epoch.
    pub started_ms: u64,
    /// How long it has been running, in seconds.
    pub uptime_s: u64,
    /// The config file; `None`: it runs without one.
    pub config: Option<String>,
    /// When its config was taken over, milliseconds since the Unix epoch.
    pub config_loaded_ms: u64,
    /// How many configs it has taken over, the first one included.
    pub generation: u64,
    /// Why the last reload was refused; `None` when it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reload_error: Option<String>,
    /// The profile that is applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The mode that overrides every route's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Worker threads.
    pub workers: usize,
    /// Where clients come in.
    pub listeners: Vec<ListenerStatus>,
    /// Client connections and exchanges.
    pub connections: Connections,
    /// How many routes there are.
    pub routes: usize,
    /// How many upstreams there are.
    pub upstreams: usize,
    /// The store.
    pub store: StoreStatus,
    /// The state directory.
    pub state_dir: String,
    /// The admin socket.
    pub socket: String,
    /// Resident memory in bytes, where the system tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
}

/// Where an instance is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Not yet accepting.
    Starting,
    /// Accepting clients.
    Serving,
    /// Accepting clients, while another process starts to take over.
    Upgrading,
    /// Not ready any more, accepting still: clients are told to go elsewhere.
    Draining,
    /// Finishing what is in flight.
    Stopping,
}

/// One listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerStatus {
    /// The address it is bound to.
    pub address: String,
    /// What for: `http`, or `telemetry`.
    pub role: String,
}

/// Client connections and exchanges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    /// Client connections open now.
    pub open: u64,
    /// Exchanges in flight now.
    pub in_flight: u64,
    /// Exchanges finished since the start.
    pub finished: u64,
    /// Connections that speak another protocol (WebSocket ...) now.
    #[serde(default)]
    pub tunnels: u64,
}

/// The store in few words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreStatus {
    /// `opening`, `open`, `memory`, `full`, `failed` ...
    pub state: String,
    /// More about the state: what was repaired, why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Entries kept.
    pub entries: u64,
    /// Bytes held in RAM.
    pub memory_bytes: u64,
    /// Live bytes on disk.
    pub disk_bytes: u64,
}

/// A config was taken over.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReloadReport {
    /// Which config this is, counted from the start.
    pub generation: u64,
    /// What differs from the config before, one sentence each.
    #[serde(default)]
    pub changes: Vec<String>,
    /// Warnings, as `config lint -o json` prints them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<serde_json::Value>,
    /// The same warnings, as `config lint` prints them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub rendered: String,
}

/// Asks the instance to stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// How long what is in flight may take, in milliseconds; absent: as the config says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_ms: Option<u64>,
}

/// Asks the instance to hand over to a new process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upgrade {
    /// The binary; absent: the one that this process was started from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binary: Option<String>,
    /// How long all of it may take, in milliseconds; absent: a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

/// One line of how that goes; the last is `done` or `failed`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum UpgradeLine {
    /// It has come so far: `started`, `checked`, `store closed`, `store opened`, `serving`.
    Step {
        /// The step.
        step: String,
        /// The new process.
        pid: u32,
        /// Its version.
        version: String,
        /// Since the upgrade began.
        after_ms: u64,
    },
    /// The new process serves.
    Done(Upgraded),
    /// The old process goes on.
    Failed {
        /// Why.
        problem: Box<super::Problem>,
    },
}

/// Another process has taken over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upgraded {
    /// The new process.
    pub pid: u32,
    /// The old one, which finishes what is in flight and ends.
    pub before: u32,
    /// The new one's version.
    pub version: String,
    /// How long it took until the new one served.
    pub took_ms: u64,
}

/// Asks the instance to drain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// How long it goes on accepting, in milliseconds; absent: as the config says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    /// How long what is in flight may take after that, in milliseconds; absent: as the config says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_ms: Option<u64>,
}

/// The instance is draining, or (`serving`) not any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draining {
    /// Its process id.
    pub pid: u32,
    /// Where it is in its life now.
    pub state: State,
    /// How long it goes on accepting, in milliseconds.
    pub delay_ms: u64,
    /// How long what is in flight may take after that, in milliseconds.
    pub grace_ms: u64,
    /// Client connections and exchanges.
    pub connections: Connections,
}

/// The instance is stopping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopping {
    /// Its process id.
    pub pid: u32,
    /// Exchanges in flight.
    pub in_flight: u64,
}
