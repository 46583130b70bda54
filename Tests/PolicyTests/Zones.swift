import Foundation
import Model
import Policy
import TestSupport

/// The zones of this system.
enum Zones {
    static func load(_ name: String) -> TimeZoneRules? {
        guard !name.contains(".."), !name.hasPrefix("/"),
            let data = FileManager.default.contents(atPath: "/usr/share/zoneinfo/\(name)")
        else { return name == "UTC" ? .utc : nil }
        return TimeZoneRules(identifier: name, tzif: [UInt8](data))
    }

    static let source = ZoneSource(
        load: { Zones.load($0) },
        names: { ["Europe/London", "Europe/Berlin", "America/New_York", "Asia/Tokyo", "UTC"] })

    /// An instant from a reading of the UTC clock, `2026-03-29T01:00:00Z`.
    static func time(_ text: String) -> Timestamp {
        let parts = text.split { "-T:Z".contains($0) }.compactMap { Int($0) }
        let date = CivilDate(year: parts[0], month: parts[1], day: parts[2])!
        let second = parts[3] * 3_600 + parts[4] * 60 + (parts.count > 5 ? parts[5] : 0)
        return Timestamp(seconds: CivilTime(date: date, secondOfDay: second).secondsOnClock)
    }
}

/// Reads policies for tests.
enum Policies {
    static let file = PolicyFile(zones: Zones.source)
    static let anyFile = PolicyFile(zones: Zones.source, features: .all)

    static func parse(_ text: String) throws -> Policy { try file.parse(Array(text.utf8), file: "test.yaml") }

    /// All problems, one a line.
    static func problems(_ text: String, features: PolicyFeatures = .current) -> [String] {
        PolicyFile(zones: Zones.source, features: features).check(Array(text.utf8)).problems.map(\.description)
    }

    /// Every key, as the design of the product has it, with what later versions do.
    static let everything = """
        # what laptops get
        name: laptops
        protect:
          - path: /home
            mode: continuous
          - {path: /var/lib/app/, mode: scheduled}
          - /etc
        exclude: [preset: temporary, "**/.cache/**", '!**/.cache/keep/']
        schedule: "weekly Mon,Wed-Fri 02:00,14:30"
        timezone: Europe/London
        expected: every 2 days of use
        retention:
          default: {continuous: 24h, last: 3, hourly: 48, daily: 14, weekly: 8, monthly: 12, yearly: none}
          rules: [{match: "*.pst", daily: 90}, {path: /srv/books, yearly: 10, hourly: none}]
        checkpoint: {on: [boot, package-change], keep: 6mo}
        hooks:
          before: [/usr/local/bin/dump-db --all]
          after: [{run: "/bin/true", timeout: 90s}]
        link: {minimum: 2Mbit/s, metered: small-only, limits: ["20Mbit/s Mon-Fri 08:00-18:00", 1MB/s 22:00-06:00]}
        spool: {size: 10GiB}
        history: {duration: 72h, share: 12.5%}
        settle: {close: 500ms, modify: 5s, longest: 1m}
        lockdown: [pause, change-policy]

        """
}
