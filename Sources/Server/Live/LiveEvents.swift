import Catalog
import Model
import Synchronization

/// What is said of changes while they happen, in the words of server-sent events.
package enum LiveEvent {
    /// Asks the browser to come again after so many milliseconds when the connection is lost.
    static let hello = "retry: 3000\n\n"
    /// Says nothing, so that the ways between know that the connection is in use.
    static let heartbeat = ": still here\n\n"

    /// - Parameter data: one line.
    package static func text(_ name: String, _ data: String) -> String {
        "event: \(name)\ndata: \(data.split(whereSeparator: \.isNewline).joined(separator: " "))\n\n"
    }
}

/// When a page hears that something has changed: at once, then no more often than it can be made anew without trouble.
package struct LivePace: Sendable {
    private var seen: LivePulse?
    private var last: Int64 = .min
    /// Nanoseconds between two words.
    private let interval: Int64

    /// - Parameter seconds: between two words.
    package init(seconds: Int64) { interval = seconds * 1_000_000_000 }

    /// Whether the page is to be told now, by the monotonic clock. The first look only takes note of what there is.
    package mutating func isDue(_ pulse: LivePulse, _ now: Int64) -> Bool {
        guard let known = seen else {
            seen = pulse
            return false
        }
        guard known != pulse, last == .min || now - last >= interval else { return false }
        seen = pulse
        last = now
        return true
    }
}

/// Changes whenever something changes that pages show.
package struct LivePulse: Hashable, Sendable {
    var reports: UInt64 = 0
    var alerts: UInt64 = 0
    var jobs: UInt64 = 0
    /// Machines, tokens, settings.
    var catalog: Int64 = 0
    /// What changes by nothing but time: once a minute.
    var minute: Int64 = 0
}

extension ServerCore {
    /// A look at what pages show, cheap enough for every browser every second.
    package func pulse(jobsOnly: Bool = false) -> LivePulse {
        var pulse = LivePulse()
        pulse.jobs = jobs.changes
        if jobsOnly { return pulse }
        pulse.reports = life.changes
        pulse.alerts = alerts.changes
        pulse.catalog = knownRevision.withLock { known in
            let now = clock()
            if abs(now.since(known.time)) > 1_000_000_000, let number = try? catalog.revision().number {
                known = (number, now)
            }
            return known.number
        }
        pulse.minute = clock().seconds / 60
        return pulse
    }
}
