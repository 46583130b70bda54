import Catalog
import Client
import Model
import Synchronization
import Vault

/// What the server knows of how its machines are. It is kept in memory, because thousands of machines speak every minute, and
/// written down every few seconds in one transaction; what a crash takes comes again with the next reports.
final class MachineLife: Sendable {
    struct Live: Sendable {
        var report: MachineReport
        var received: Timestamp
        var trail: MachineTrail
    }

    private struct Traffic {
        var raw: UInt64 = 0
        var stored: UInt64 = 0
        var rewritten: UInt64 = 0
        var deleted: UInt64 = 0
    }

    private struct State {
        var live: [MachineID: Live] = [:]
        var changed: Set<MachineID> = []
        var seen: [MachineID: Timestamp] = [:]
        var traffic: [MachineID: Traffic] = [:]
        /// Grows with all that a page may show.
        var changes: UInt64 = 0
    }

    private let catalog: any ServerCatalog
    private let state = Mutex(State())

    /// Seconds between two reports of a machine, while there are few.
    static let interval = 60
    /// More machines than this report less often, so that the server has as much to do.
    static let machinesAMinute = 3_000

    init(_ catalog: any ServerCatalog) { self.catalog = catalog }

    /// Takes up what an earlier process has written down. What cannot be read comes anew.
    func load() throws {
        var live: [MachineID: Live] = [:]
        for (machine, kept) in try catalog.reports() {
            guard let report = try? MachineReport.decode(kept.report) else { continue }
            live[machine] = Live(
                report: report, received: kept.received, trail: (try? MachineTrail.decode(kept.trail)) ?? .init())
        }
        let known = live
        state.withLock { $0.live = known }
    }

    func live(_ machine: MachineID) -> Live? { state.withLock { $0.live[machine] } }
    var all: [MachineID: Live] { state.withLock { $0.live } }
    /// Grows whenever something changes.
    var changes: UInt64 { state.withLock { $0.changes } }
    /// Machines that have ever reported.
    var count: Int { state.withLock { $0.live.count } }

    /// Takes a report, and answers what it showed about who speaks.
    func take(_ report: MachineReport, of machine: MachineID, at now: Timestamp) -> MachineTrail.Finding? {
        state.withLock { state in
            var trail = state.live[machine]?.trail ?? MachineTrail()
            let finding = trail.note(report, at: now)
            if let changes = report.changes {
                state.traffic[machine, default: Traffic()].rewritten &+= changes.rewritten
                state.traffic[machine, default: Traffic()].deleted &+= changes.deleted
            }
            if report.newest != nil {
                let traffic = state.traffic[machine] ?? Traffic()
                trail.add(
                    MachineTrail.Sample(
                        time: now, files: report.files, bytes: report.bytes, raw: traffic.raw,
                        stored: traffic.stored, rewritten: traffic.rewritten, deleted: traffic.deleted))
            }
            state.live[machine] = Live(report: report, received: now, trail: trail)
            state.changed.insert(machine)
            state.seen[machine] = now
            state.changes += 1
            return finding
        }
    }

    /// Changes what is remembered of a machine that has reported.
    func change(_ machine: MachineID, _ body: (inout MachineTrail) -> Void) {
        state.withLock { state in
            guard var live = state.live[machine] else { return }
            body(&live.trail)
            state.live[machine] = live
            state.changed.insert(machine)
            state.changes += 1
        }
    }

    /// A machine was heard of.
    func noteSeen(_ machine: MachineID, at now: Timestamp) { state.withLock { $0.seen[machine] = now } }

    /// When a machine was heard of last, if that is not written down yet.
    func seen(_ machine: MachineID) -> Timestamp? { state.withLock { $0.seen[machine] } }

    /// A pack of a machine came in.
    func noteStored(_ pack: SealedPack, of machine: MachineID) {
        guard pack.packClass == .data else { return }
        var raw: UInt64 = 0
        var all: UInt64 = 0
        for blob in pack.blobs {
            all += UInt64(blob.sealedLength)
            if blob.encoding == .raw { raw += UInt64(blob.sealedLength) }
        }
        let (rawBytes, allBytes) = (raw, all)
        state.withLock { state in
            state.traffic[machine, default: Traffic()].raw &+= rawBytes
            state.traffic[machine, default: Traffic()].stored &+= allBytes
        }
    }

    /// Writes down what has changed.
    func flush() throws {
        let (reports, seen) = state.withLock { state in
            defer {
                state.changed = []
                state.seen = [:]
            }
            let reports = state.changed.compactMap { machine in
                state.live[machine].map { live in
                    KeptReport(
                        machine: machine, received: live.received, report: live.report.encoded(),
                        trail: live.trail.encoded())
                }
            }
            return (reports, state.seen)
        }
        do { try catalog.keep(reports, seen: seen) } catch {
            // The next time it goes with what has come meanwhile.
            state.withLock { state in
                state.changed.formUnion(reports.map(\.machine))
                state.seen.merge(seen) { max($0, $1) }
            }
            throw error
        }
    }

    /// Seconds until a machine's next report, with so many machines.
    static func interval(machines: Int) -> Int { max(interval, interval * machines / machinesAMinute) }
}
