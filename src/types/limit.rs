//! The limits for which something is refused: what errors and metrics call them. A limit without a setting
//! is one of the format in memory.

use std::fmt;

/// A limit that is reached. Its name is that of the setting, where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Requests of one client.
    ClientRequests,
    /// Announcements of one peer.
    PeerRequests,
    /// The memory of the index.
    IndexMemory,
    /// The room on the journal's disk that strangers leave.
    JournalDisk,
    /// Keys that one peer holds.
    PeerKeys,
    /// Keys that the peers of one network hold.
    NetworkKeys,
    /// Providers of one key from one network.
    KeyNetwork,
    /// The numbers of groups.
    Groups,
    /// The numbers of sets of groups.
    GroupSets,
    /// IPNS records.
    IpnsRecords,
    /// IPNS records of one network.
    NetworkIpnsRecords,
}

impl Limit {
    /// All of them.
    pub(crate) const ALL: [Self; 11] = [
        Self::ClientRequests,
        Self::PeerRequests,
        Self::IndexMemory,
        Self::JournalDisk,
        Self::PeerKeys,
        Self::NetworkKeys,
        Self::KeyNetwork,
        Self::Groups,
        Self::GroupSets,
        Self::IpnsRecords,
        Self::NetworkIpnsRecords,
    ];

    /// What metrics call it: the setting.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ClientRequests => "rate_limit",
            Self::PeerRequests => "announce_peer_rate_limit",
            Self::IndexMemory => "index_memory_max",
            Self::JournalDisk => "journal_disk_reserve",
            Self::PeerKeys => "announce_peer_keys_max",
            Self::NetworkKeys => "announce_network_keys_max",
            Self::KeyNetwork => "announce_key_network_max",
            Self::Groups => "groups",
            Self::GroupSets => "group_sets",
            Self::IpnsRecords => "ipns_records_max",
            Self::NetworkIpnsRecords => "ipns_network_names_max",
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Self::ClientRequests => "requests of this client",
            Self::PeerRequests => "announcements of this peer",
            Self::IndexMemory => "memory",
            Self::JournalDisk => "the part of the disk that is not kept for the operator",
            Self::PeerKeys => "keys of this peer",
            Self::NetworkKeys => "keys of this network",
            Self::KeyNetwork => "providers of this key from this network",
            Self::Groups => "groups",
            Self::GroupSets => "sets of groups",
            Self::IpnsRecords => "IPNS records",
            Self::NetworkIpnsRecords => "IPNS records of this network",
        };
        if matches!(self, Self::Groups | Self::GroupSets) {
            return f.write_str(what);
        }
        write!(f, "{what} ({})", self.name())
    }
}
