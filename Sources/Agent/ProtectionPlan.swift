package import Capture
package import Model
package import Policy

/// What an effective policy means on this machine: which paths that are there are protected how.
package struct ProtectionPlan: Hashable, Sendable {
    /// Paths of one mode with what is left out of them.
    package struct Part: Hashable, Sendable {
        package var roots: [TreePath]
        /// The last that matches decides.
        package var patterns: [ExclusionPattern]

        /// As what captures wants it.
        package func source(own: Set<CaptureSource.FileNode>) -> CaptureSource {
            CaptureSource(roots: roots, exclusions: ExclusionRules(patterns), ownDirectories: own)
        }
    }

    /// `nil` when there is nothing to protect continuously.
    package var continuous: Part?
    /// `nil` when nothing has a schedule.
    package var scheduled: Part?
    /// Protected paths that are not on this machine now.
    package var missing: [TreePath]
    package var durations: Settling.Durations
    package var schedule: Schedule
    package var zone: TimeZoneRules
    package var limits: BandwidthWindows
    package var locked: Set<LockedAction>
    /// Bytes that versions which wait for the server may take.
    package var spoolSize: UInt64
    /// How long versions stay on the machine after they were sent, and how much of the free space they may take.
    package var historyDuration: Duration
    package var historyShare: Share
    /// On what checkpoints are made.
    package var checkpoints: Set<CheckpointEvent>

    /// - Parameters:
    ///   - local: the zone of this machine's own clock.
    ///   - resolve: where a path leads that may have symbolic links in it; `nil` when it is not there. Both absolute.
    package init(
        _ policy: EffectivePolicy, local: TimeZoneRules, zones: ZoneSource, resolve: ([UInt8]) -> [UInt8]?
    ) {
        var roots: [ProtectedPath.Mode: [TreePath]] = [:]
        missing = []
        for item in policy.protect {
            if let found = resolve(item.value.path).flatMap({ TreePath(normalizing: $0) }) {
                roots[item.value.mode, default: []].append(found)
            } else if let named = TreePath(normalizing: item.value.path) {
                missing.append(named)
            }
        }
        let patterns = policy.exclusionPatterns.map { Array($0.value.utf8) }
        continuous = ProtectionPlan.part(
            roots[.continuous] ?? [], patterns, others: roots[.scheduled] ?? [])
        scheduled = ProtectionPlan.part(roots[.scheduled] ?? [], patterns, others: roots[.continuous] ?? [])
        let close = policy.settleClose.value.inNanoseconds
        durations = Settling.Durations(
            afterClose: close, afterWrite: policy.settleModify.value.inNanoseconds,
            most: policy.settleLongest.value.inNanoseconds, deletion: 2 * close)
        schedule = policy.schedule.value
        zone = policy.zone(local: local, zones: zones)
        limits = policy.bandwidth
        locked = Set(policy.lockdown.map(\.value))
        spoolSize = policy.spoolSize.value
        historyDuration = policy.historyDuration.value
        historyShare = policy.historyShare.value
        checkpoints = Set(policy.checkpointOn.map(\.value))
    }

    private static func part(_ roots: [TreePath], _ patterns: [[UInt8]], others: [TreePath]) -> Part? {
        if roots.isEmpty { return nil }
        let names = roots.map(\.bytes)
        var list = patterns.flatMap { ExclusionPattern.commandLine($0, roots: names) }
        // The nearest protected path decides the mode: what is another's is left out here. Where one of these lies deeper
        // still, nothing is left out: twice is better than not at all.
        for other in others
        where roots.contains(where: { $0.contains(other) }) && !roots.contains(where: { other.contains($0) }) {
            list.append(ExclusionPattern([UInt8(ascii: "/")] + escaped(other.bytes)))
        }
        return Part(roots: Set(roots).sorted { $0.bytes.lexicographicallyPrecedes($1.bytes) }, patterns: list)
    }

    private static func escaped(_ path: [UInt8]) -> [UInt8] {
        path.flatMap { "*?[]\\!#".utf8.contains($0) || $0 == 0x20 ? [UInt8(ascii: "\\"), $0] : [$0] }
    }

    /// What an agent that protects continuously has to be made anew for.
    var continuousSetting: ContinuousSetting {
        ContinuousSetting(
            part: continuous, durations: durations, spoolSize: spoolSize, historyDuration: historyDuration,
            historyShare: historyShare, checkpoints: checkpoints)
    }

    struct ContinuousSetting: Hashable {
        var part: Part?
        var durations: Settling.Durations
        var spoolSize: UInt64
        var historyDuration: Duration
        var historyShare: Share
        var checkpoints: Set<CheckpointEvent>
    }
}

extension Duration {
    /// In whole nanoseconds; what does not fit is the longest that does.
    package var inNanoseconds: Int64 {
        let (seconds, attoseconds) = components
        let (whole, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        return overflow ? (seconds < 0 ? .min : .max) : whole + attoseconds / 1_000_000_000
    }
}
