import Model

/// Kinds of machines with the settings that fit them; policies go on top.
package enum MachineClass: String, Hashable, Sendable, CaseIterable {
    case server, desktop, homeOffice = "home-office", branchOffice = "branch-office", mobile

    /// In a sentence.
    package var summary: String {
        switch self {
        case .server: "Always on, in a room with a good link: data at once, the whole system each night."
        case .desktop: "In an office, on by day: homes at once, the system weekly."
        case .homeOffice: "At home behind somebody's own line: as a desktop, and the line stays usable by day."
        case .branchOffice: "A small server behind a slow line: as a server, with room for days without the line."
        case .mobile: "A laptop: mostly asleep, often away; much room for versions that wait."
        }
    }

    /// What it sets, as a policy file that can be copied and changed; it lacks a name only because it has this one.
    package var yaml: String {
        switch self {
        case .server:
            """
            protect:
              - {path: /, mode: scheduled}
              - /etc
              - /home
              - /root
              - /srv
              - /opt
              - /usr/local
            exclude: [preset: system, preset: temporary]
            schedule: "daily 01:00"
            expected: every 1h
            retention:
              default: {continuous: 24h, hourly: 48, daily: 30, weekly: 12, monthly: 12, yearly: 3}
            checkpoint: {on: [boot, package-change]}
            spool: {size: 20GB}

            """
        case .desktop:
            """
            protect:
              - {path: /, mode: scheduled}
              - /etc
              - /home
            exclude: [preset: system, preset: temporary, preset: caches]
            schedule: "weekly Wed 12:30"
            expected: every 8h
            retention:
              default: {continuous: 24h, hourly: 48, daily: 14, weekly: 8, monthly: 12, yearly: 3}
            checkpoint: {on: [package-change]}

            """
        case .homeOffice:
            """
            protect: [/etc, /home]
            exclude: [preset: system, preset: temporary, preset: caches]
            expected: every 1 day of use
            retention:
              default: {continuous: 24h, hourly: 48, daily: 14, weekly: 8, monthly: 12, yearly: 3}
            link: {limits: ["10Mbit/s Mon-Fri 08:00-18:00"]}
            spool: {size: 20GB}

            """
        case .branchOffice:
            """
            protect:
              - {path: /, mode: scheduled}
              - /etc
              - /home
              - /srv
            exclude: [preset: system, preset: temporary]
            schedule: "daily 22:00"
            expected: every 4h
            retention:
              default: {continuous: 24h, hourly: 48, daily: 30, weekly: 12, monthly: 12, yearly: 3}
            checkpoint: {on: [boot, package-change]}
            link: {limits: ["5Mbit/s Mon-Sat 07:00-20:00"]}
            spool: {size: 50GB}
            history: {duration: 7d, share: 10%}

            """
        case .mobile:
            """
            protect: [/etc, /home]
            exclude: [preset: system, preset: temporary, preset: caches]
            expected: every 2 days of use
            retention:
              default: {continuous: 24h, hourly: 48, daily: 14, weekly: 8, monthly: 12, yearly: 3}
            spool: {size: 20GB}
            history: {duration: 7d, share: 20%}

            """
        }
    }

    /// `class desktop`: no policy of a file can have this name.
    package var policyName: String { "class \(rawValue)" }

    /// The same as a policy.
    package var policy: Policy {
        PolicyFile(zones: ZoneSource(load: { _ in nil })).builtIn(yaml, name: policyName)
    }
}
