//! Classifies addresses: of the public internet, or one that a server there must not make this machine connect to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Converts an IPv4-mapped IPv6 address to the IPv4 address that it stands for.
pub(super) fn canonical(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

/// The same for a net, if all of it is IPv4-mapped.
pub(super) fn canonical_net(net: IpNet) -> IpNet {
    match (canonical(net.addr()), net.prefix_len().checked_sub(96)) {
        (v4 @ IpAddr::V4(_), Some(length)) if net.addr().is_ipv6() => IpNet::new(v4, length).unwrap_or(net),
        _ => net,
    }
}

/// Returns what kind of address it is, or `None` if it belongs to the public internet. Follows the special-purpose
/// registries of IANA, including the entries in them that are not global. Azure's metadata server has a public address.
pub(super) fn kind_of(address: IpAddr) -> Option<&'static str> {
    match canonical(address) {
        IpAddr::V4(v4) => kind_of_v4(v4),
        IpAddr::V6(v6) => kind_of_v6(v6),
    }
}

fn kind_of_v4(address: Ipv4Addr) -> Option<&'static str> {
    const SPECIAL: [([u8; 4], u8, &str); 17] = [
        ([0, 0, 0, 0], 8, "an address of this host"),
        ([10, 0, 0, 0], 8, "a private address"),
        ([100, 64, 0, 0], 10, "a carrier's private address"),
        ([127, 0, 0, 0], 8, "a loopback address"),
        ([168, 63, 129, 16], 32, "an address of a cloud's metadata"),
        ([169, 254, 169, 254], 32, "an address of a cloud's metadata"),
        ([169, 254, 0, 0], 16, "a link-local address"),
        ([172, 16, 0, 0], 12, "a private address"),
        ([192, 0, 0, 0], 24, "a reserved address"),
        ([192, 0, 2, 0], 24, "an address for documentation"),
        ([192, 88, 99, 0], 24, "a 6to4 relay"),
        ([192, 168, 0, 0], 16, "a private address"),
        ([198, 18, 0, 0], 15, "an address for benchmarks"),
        ([198, 51, 100, 0], 24, "an address for documentation"),
        ([203, 0, 113, 0], 24, "an address for documentation"),
        ([224, 0, 0, 0], 4, "a multicast address"),
        ([240, 0, 0, 0], 4, "a reserved address"),
    ];
    let is_in = |net: [u8; 4], length: u8| {
        let shift = 32 - u32::from(length);
        u32::from(address) >> shift == u32::from_be_bytes(net) >> shift
    };
    SPECIAL.into_iter().find(|(net, length, _)| is_in(*net, *length)).map(|(.., kind)| kind)
}

fn kind_of_v6(address: Ipv6Addr) -> Option<&'static str> {
    // The first two groups decide, except for a few addresses that are compared as a whole.
    const SPECIAL: [(u32, u8, &str); 13] = [
        (0x0064_ff9b, 32, "a NAT64 translation"),
        (0x0100_0000, 16, "a discarded address"),
        (0x2001_0000, 32, "a Teredo tunnel"),
        (0x2001_0db8, 32, "an address for documentation"),
        (0x2001_0000, 23, "a reserved address"),
        (0x2002_0000, 16, "a 6to4 translation"),
        (0x3fff_0000, 20, "an address for documentation"),
        (0x5f00_0000, 16, "a reserved address"),
        (0xfc00_0000, 7, "a private address"),
        (0xfe80_0000, 10, "a link-local address"),
        (0xfec0_0000, 10, "a site-local address"),
        (0xff00_0000, 8, "a multicast address"),
        (0x0000_0000, 32, "an address of this host or a translation"),
    ];
    if address.is_loopback() {
        return Some("a loopback address");
    }
    let first = (u128::from(address) >> 96) as u32;
    let is_in = |net: u32, length: u8| first >> (32 - u32::from(length)) == net >> (32 - u32::from(length));
    let special = SPECIAL.into_iter().find(|(net, length, _)| is_in(*net, *length));
    match special {
        Some((.., kind)) => Some(kind),
        // Global unicast. Nothing outside it has been assigned yet.
        None if is_in(0x2000_0000, 3) => None,
        None => Some("a reserved address"),
    }
}

/// Whether every address of a net is a loopback address.
pub(super) fn is_loopback_net(net: &IpNet) -> bool {
    match net {
        IpNet::V4(net) => net.addr().is_loopback() && net.prefix_len() >= 8,
        IpNet::V6(net) => net.addr().is_loopback() && net.prefix_len() == 128,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("127.0.0.1", "a loopback address")]
    #[case("127.255.255.255", "a loopback address")]
    #[case("0.0.0.0", "an address of this host")]
    #[case("10.0.0.1", "a private address")]
    #[case("100.100.100.200", "a carrier's private address")]
    #[case("168.63.129.16", "an address of a cloud's metadata")]
    #[case("169.254.169.254", "an address of a cloud's metadata")]
    #[case("169.254.0.1", "a link-local address")]
    #[case("172.16.0.0", "a private address")]
    #[case("172.31.255.255", "a private address")]
    #[case("192.0.0.192", "a reserved address")]
    #[case("192.0.2.1", "an address for documentation")]
    #[case("192.88.99.1", "a 6to4 relay")]
    #[case("192.168.1.1", "a private address")]
    #[case("198.19.255.255", "an address for benchmarks")]
    #[case("224.0.0.1", "a multicast address")]
    #[case("255.255.255.255", "a reserved address")]
    #[case("::", "an address of this host or a translation")]
    #[case("::1", "a loopback address")]
    #[case("::127.0.0.1", "an address of this host or a translation")]
    #[case("::ffff:127.0.0.1", "a loopback address")]
    #[case("::ffff:10.0.0.1", "a private address")]
    #[case("64:ff9b::7f00:1", "a NAT64 translation")]
    #[case("64:ff9b:1::1", "a NAT64 translation")]
    #[case("100::1", "a discarded address")]
    #[case("2001::1", "a Teredo tunnel")]
    #[case("2001:db8::1", "an address for documentation")]
    #[case("2002:7f00:1::", "a 6to4 translation")]
    #[case("3fff::1", "an address for documentation")]
    #[case("4000::1", "a reserved address")]
    #[case("fc00::1", "a private address")]
    #[case("fd00:ec2::254", "a private address")]
    #[case("fe80::1", "a link-local address")]
    #[case("fec0::1", "a site-local address")]
    #[case("ff02::1", "a multicast address")]
    fn special(#[case] address: &str, #[case] kind: &str) {
        assert_eq!(kind_of(address.parse().unwrap()), Some(kind));
    }

    #[rstest]
    #[case("1.1.1.1")]
    #[case("9.255.255.255")]
    #[case("11.0.0.0")]
    #[case("100.63.255.255")]
    #[case("100.128.0.0")]
    #[case("126.255.255.255")]
    #[case("128.0.0.0")]
    #[case("172.15.255.255")]
    #[case("172.32.0.0")]
    #[case("198.20.0.0")]
    #[case("223.255.255.255")]
    #[case("::ffff:1.1.1.1")]
    #[case("2001:200::1")]
    #[case("2606:4700::1111")]
    #[case("2a00::1")]
    fn public(#[case] address: &str) {
        assert_eq!(kind_of(address.parse().unwrap()), None);
    }
}
