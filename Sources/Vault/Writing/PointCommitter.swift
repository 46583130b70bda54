package import Model
import Platform

/// Puts points at the end of a machine's chain in a vault, under one lease.
///
/// Other writers of the same machine may commit meanwhile, and a machine may die between a commit and its
/// acknowledgement: the head that will be is noted before, and the place in the chain is looked up again when it moved.
package final class PointCommitter {
    private let service: any VaultService
    private let secrets: WriterSecrets
    private let heads: any HeadMemory
    private var remembered: [MachineHead]
    package let lease: Lease
    /// What this machine remembers and what the vault holds do not fit; `nil` usually.
    package private(set) var historyBreak: HistoryBreak?
    package private(set) var position: PointPosition
    private var recordKey: RecordKey?
    private var recordKeyTime: Int64 = 0
    private var isClosed = false

    /// Opens a lease that goes on from the first remembered head that the vault knows; else one for a new incarnation.
    ///
    /// - Parameter base: the point whose nodes will not be sent again.
    package init(
        service: any VaultService, secrets: WriterSecrets, heads: any HeadMemory, base: PointID?
    ) throws {
        self.service = service
        self.secrets = secrets
        self.heads = heads
        remembered = try heads.remembered()
        let lease = try PointCommitter.openLease(service, secrets.machine, remembered, base: base)
        historyBreak = HistoryBreak(remembered: remembered, lease: lease)
        self.lease = lease
        position = lease.next
        do {
            let known = remembered
            remembered = try heads.exclusively {
                // Another backup of this machine may have committed meanwhile; then what it noted counts.
                if try heads.remembered() == known { try PointCommitter.settle(lease, known, in: heads) }
                return try heads.remembered()
            }
        } catch {
            close()
            throw error
        }
    }

    /// Keeps the head that the vault has shown to hold, if it is one that was only expected. Its commit was not heard of, and the
    /// next expectation takes its place: were that one not fulfilled, nothing remembered would fit what the vault holds.
    private static func settle(_ lease: Lease, _ remembered: [MachineHead], in heads: any HeadMemory) throws {
        guard !lease.isNewIncarnation, lease.next.number > 1 else { return }
        let head = MachineHead(
            incarnation: lease.next.incarnation, number: lease.next.number - 1, hash: lease.next.previous)
        if remembered.contains(head) { try heads.confirm(head) }
    }

    private static func openLease(
        _ service: any VaultService, _ machine: MachineID, _ remembered: [MachineHead], base: PointID?
    ) throws -> Lease {
        var remaining = remembered[...]
        while true {
            let lease = try service.openLease(.writer(machine: machine, head: remaining.popFirst(), base: base))
            if remaining.isEmpty || !lease.isNewIncarnation { return lease }
            service.closeLease(lease.id)
        }
    }

    /// Commits one point. `point` and the record's labels are the caller's; everything that the record names is stored.
    package func commit(
        _ record: PointRecord, _ draft: PointDraft, point: PointID, isPartial: Bool = false
    ) throws -> CommittedPoint {
        var record = record
        record.labels = draft.labels
        record.consistency = draft.consistency
        record.warnings = draft.warnings
        record.furtherWarnings = draft.omittedWarnings
        record.protectedPaths = draft.paths
        record.host = draft.hostName
        record.program = draft.program
        record.exclusions = draft.exclusions
        if historyBreak != nil { record.labels.append(HistoryBreak.label) }
        let (receipt, number) = try heads.exclusively { try commit(record, draft, point, isPartial) }
        position = PointPosition(
            incarnation: position.incarnation, number: number + 1, previous: receipt.storedUpTo.hash)
        return CommittedPoint(
            point: point, number: number, head: receipt.storedUpTo, statistics: record.statistics)
    }

    private func commit(
        _ record: PointRecord, _ draft: PointDraft, _ point: PointID, _ isPartial: Bool
    ) throws -> (CommitReceipt, number: UInt64) {
        // Another backup of this machine may have committed since the lease was opened.
        if try heads.remembered() != remembered { try reposition() }
        for attempt in 1...3 {
            let references = Set(([record.root] + record.deltas).map { BlobCrypto.id(of: $0) })
            let locator = PointLocator(
                vault: secrets.vault, machine: secrets.machine, incarnation: position.incarnation, point: point,
                number: position.number, time: draft.time, kind: draft.kind, flags: isPartial ? .partial : [],
                series: secrets.domainSecret.series(of: draft.paths), previous: position.previous,
                references: references.sorted())
            let sealed = try SealedPoint.seal(
                locator: locator, record: record, key: try currentRecordKey(), signing: secrets.signing)
            // Noted before: who dies between the commit and its acknowledgement knows its own point again.
            try heads.expect(MachineHead(after: locator))
            do {
                var receipt = try service.commit(sealed, lease: lease.id)
                receipt.storedUpTo = MachineHead(after: locator)
                try heads.acknowledge(receipt.storedUpTo)
                remembered = try heads.remembered()
                return (receipt, position.number)
            } catch let error as HoldfastError where error.code == .headMoved && attempt < 3 {
                try reposition()
            }
        }
        throw HoldfastError(.busy, "another backup of this machine commits at the same time")
    }

    /// Stands behind the newest point that this machine remembers. When the vault holds one that it does not remember, a
    /// clone of it wrote that: a chain of its own begins. The old lease stays open meanwhile, so that what was stored
    /// under it stays.
    private func reposition() throws {
        remembered = try heads.remembered()
        let newer = try PointCommitter.openLease(service, secrets.machine, remembered, base: nil)
        service.closeLease(newer.id)
        try PointCommitter.settle(newer, remembered, in: heads)
        remembered = try heads.remembered()
        position = newer.next
        if historyBreak == nil { historyBreak = HistoryBreak(remembered: remembered, lease: newer) }
    }

    /// A fresh key per lease, or per hour of a long run.
    private func currentRecordKey() throws -> RecordKey {
        let now = SystemClock.monotonic
        if let recordKey, now - recordKeyTime < 3_600_000_000_000 { return recordKey }
        let key = try RecordKey.fresh(for: secrets.publicKey, vault: secrets.vault)
        recordKey = key
        recordKeyTime = now
        return key
    }

    /// Ends the lease. Harmless to call twice.
    package func close() {
        if isClosed { return }
        isClosed = true
        service.closeLease(lease.id)
    }

    deinit { close() }
}
