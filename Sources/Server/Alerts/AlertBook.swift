import Catalog
import Model
import Synchronization

/// Alerts from raised to resolved: each is raised once and resolved by itself, or by somebody. Only the process that serves
/// changes them.
final class AlertBook: Sendable {
    /// What an alert is about.
    struct Key: Hashable, Sendable {
        var kind: AlertKind
        var machine: MachineID?
        var subject = ""
    }

    /// Something that is so now.
    struct Finding: Hashable, Sendable {
        var key: Key
        var text: String
    }

    private struct Entry {
        var record: AlertRecord
        /// Since when what it says does not hold any more.
        var goneSince: Timestamp?
        /// Nobody was told of it: the last of its key was told of too short a time ago, or a rule mutes it.
        var isUntold = false
    }

    private struct State {
        var open: [Key: Entry] = [:]
        /// When somebody was told of a key's last alert.
        var told: [Key: Timestamp] = [:]
        var isLoaded = false
        var changes: UInt64 = 0
    }

    private let catalog: any ServerCatalog
    private let clock: @Sendable () -> Timestamp
    private let state = Mutex(State())
    /// Whom to tell of what is raised and resolved.
    private let targets: @Sendable () -> [String]
    /// Whether nobody is to be told of some alerts now.
    private let isMuted: @Sendable (Key) -> Bool
    /// What is gone for so long is resolved, in nanoseconds: what comes and goes is one alert, not fifty.
    let settling: Int64
    /// Of one key an alert is told once in this time, in nanoseconds, with its end: who makes the same thing come and go for ever
    /// fills nobody's mailbox, and pushes nothing else out of the queue. One that is open at the end of it is told then.
    static let silence: Int64 = 3_600_000_000_000

    /// The setting with the numbers of open alerts of which nobody was told yet: whoever starts the server anew because of one
    /// hears of it all the same.
    static let untoldSetting = "untold-alerts"

    init(
        _ catalog: any ServerCatalog, clock: @escaping @Sendable () -> Timestamp, settling: Int64 = 90_000_000_000,
        isMuted: @escaping @Sendable (Key) -> Bool = { _ in false }, targets: @escaping @Sendable () -> [String]
    ) {
        self.catalog = catalog
        self.clock = clock
        self.settling = settling
        self.isMuted = isMuted
        self.targets = targets
    }

    /// Takes up what an earlier process has left open.
    func load() throws {
        var open: [Key: Entry] = [:]
        let kept = try catalog.setting(Self.untoldSetting).map { String(decoding: $0, as: UTF8.self) } ?? ""
        let untold = Set(kept.split(separator: ",").compactMap { Int64($0) })
        for record in try catalog.alerts(resolved: 0) {
            guard let kind = AlertKind(rawValue: record.kind) else { continue }
            open[Key(kind: kind, machine: record.machine, subject: record.subject)] = Entry(
                record: record, isUntold: untold.contains(record.number))
        }
        let known = open
        state.withLock { state in
            state.open = known
            state.isLoaded = true
        }
    }

    /// Grows whenever an alert changes.
    var changes: UInt64 { state.withLock { $0.changes } }

    /// The numbers of what is open, by kind; acknowledged ones apart.
    var counts: [(kind: AlertKind, open: Int, acknowledged: Int)] {
        state.withLock { state in
            AlertKind.allCases.map { kind in
                let records = state.open.filter { $0.key.kind == kind }.values.map(\.record.state)
                return (kind, records.count { $0 == .open }, records.count { $0 == .acknowledged })
            }
        }
    }

    /// Whether an alert is open or acknowledged.
    func isOpen(_ key: Key) -> Bool { state.withLock { $0.open[key] != nil } }

    /// When the newest alert of a kind was raised that is open or acknowledged for a machine; `nil` when there is none.
    func newest(_ kind: AlertKind, of machine: MachineID) -> Timestamp? {
        state.withLock { state in
            state.open.filter { $0.key.kind == kind && $0.key.machine == machine }.map(\.value.record.raised).max()
        }
    }

    /// Brings alerts of some kinds in line with what was found of them.
    func reconcile(_ findings: [Finding], of kinds: Set<AlertKind>) throws {
        let now = clock()
        let found = Dictionary(findings.map { ($0.key, $0.text) }) { first, _ in first }
        try state.withLock { state in
            guard state.isLoaded else { return }
            for (key, text) in found { try raise(key, text, now, &state) }
            for (key, entry) in state.open where kinds.contains(key.kind) && found[key] == nil {
                // Never later than now: a clock that was ahead must not keep an alert open until that time.
                let since = min(entry.goneSince ?? now, now)
                state.open[key]?.goneSince = since
                if now.since(since) >= settling { try resolve(key, now, &state) }
            }
            try settle(now, &state)
        }
    }

    /// Resolves what was said to be over for long enough, and tells what was not told yet and is open still.
    private func settle(_ now: Timestamp, _ state: inout State) throws {
        // A time to come was noted by a clock that was ahead.
        state.told = state.told.filter { $0.value <= now && now.since($0.value) < Self.silence }
        for (key, entry) in state.open {
            if let since = entry.goneSince {
                // Of what is found by looking, who looks decides.
                guard key.kind.isEvent else { continue }
                state.open[key]?.goneSince = min(since, now)
                if now.since(min(since, now)) >= settling { try resolve(key, now, &state) }
            } else if entry.isUntold, state.told[key] == nil, !isMuted(key) {
                try catalog.update(entry.record, tell: entry.record.state == .open ? targets() : [])
                state.open[key]?.isUntold = false
                state.told[key] = now
                try keepUntold(state)
            }
        }
    }

    /// Raises an alert by something that happened. Answers whether it is new.
    @discardableResult
    func raise(_ key: Key, _ text: String) throws -> Bool {
        let now = clock()
        return try state.withLock { state in
            let isNew = state.open[key] == nil
            try raise(key, text, now, &state)
            return isNew
        }
    }

    /// What was raised does not hold any more. It is resolved by a later `reconcile`, unless it comes again before. Costs next to
    /// nothing when it was not raised.
    func resolve(_ key: Key) {
        state.withLock { state in
            guard let entry = state.open[key], entry.goneSince == nil else { return }
            state.open[key]?.goneSince = clock()
        }
    }

    private func raise(_ key: Key, _ text: String, _ now: Timestamp, _ state: inout State) throws {
        if var entry = state.open[key] {
            entry.goneSince = nil
            state.open[key] = entry
            return
        }
        var record = AlertRecord(
            kind: key.kind.rawValue, subject: key.subject, machine: key.machine, severity: key.kind.severity,
            text: text, raised: now, changed: now)
        let isUntold = isMuted(key) || state.told[key].map { $0 <= now && now.since($0) < Self.silence } ?? false
        guard let number = try catalog.add(record, tell: isUntold ? [] : targets()) else { return }
        record.number = number
        state.open[key] = Entry(record: record, isUntold: isUntold)
        state.changes += 1
        if isUntold { try keepUntold(state) } else { state.told[key] = now }
    }

    private func keepUntold(_ state: State) throws {
        let numbers = state.open.values.filter(\.isUntold).map { String($0.record.number) }
        try catalog.set(Self.untoldSetting, Array(numbers.sorted().joined(separator: ",").utf8))
    }

    private func resolve(_ key: Key, _ now: Timestamp, _ state: inout State) throws {
        if let entry = state.open[key] { _ = try resolve(key, entry, now, by: nil, &state) }
    }

    /// - Parameter name: who says so; `nil` when it was found to be over.
    private func resolve(
        _ key: Key, _ entry: Entry, _ now: Timestamp, by name: String?, _ state: inout State
    ) throws -> AlertRecord {
        var record = entry.record
        record.state = .resolved
        if let name { record.by = name }
        record.changed = now
        // Who was told of it is told of its end, also while a rule mutes it: else a pager would ring on for ever.
        try catalog.update(record, tell: entry.isUntold ? [] : targets())
        state.open[key] = nil
        state.changes += 1
        return record
    }

    /// Resolves an alert because somebody says that it is over. What still holds is raised anew by the next look. One that is
    /// resolved already stays as it is.
    func resolve(_ number: Int64, by name: String) throws -> AlertRecord {
        let now = clock()
        return try state.withLock { state in
            guard let (key, entry) = state.open.first(where: { $0.value.record.number == number }) else {
                guard let record = try catalog.alert(number) else {
                    throw HoldfastError(.notFound, "There is no alert \(number).")
                }
                return record
            }
            return try resolve(key, entry, now, by: name, &state)
        }
    }

    /// Notes that somebody has seen an alert. One that is resolved or acknowledged already stays as it is.
    ///
    /// What nothing but a person's judgement ends is resolved by it: the next mass change is another alert.
    func acknowledge(_ number: Int64, by name: String) throws -> AlertRecord {
        let now = clock()
        return try state.withLock { state in
            guard let (key, entry) = state.open.first(where: { $0.value.record.number == number }) else {
                guard let record = try catalog.alert(number) else {
                    throw HoldfastError(.notFound, "There is no alert \(number).")
                }
                return record
            }
            var record = entry.record
            guard record.state == .open else { return record }
            record.state = key.kind.endsByJudgement ? .resolved : .acknowledged
            record.by = name
            record.changed = now
            try catalog.update(record, tell: [])
            state.changes += 1
            if record.state == .resolved {
                state.open[key] = nil
            } else {
                state.open[key]?.record = record
            }
            return record
        }
    }
}
