package import Model

/// What writers, readers and recovery ask of a vault, beside sending packs (`BlobIntake`) and reading blobs (`BlobSource`).
///
/// Two implementations: `LocalVault` (catalog and store in this process) and, over the network, one that speaks to a
/// server. Calls block; call them from dedicated threads. Every method may be called from several threads at once.
///
/// The order that makes a backup safe is the caller's part: data packs, then meta packs, then the point. The commit of the
/// point is the only moment at which anything becomes visible; a writer that dies before it leaves blobs that nothing
/// refers to, and the next collection frees them.
package protocol VaultService: BlobIntake, BlobSource {
    /// The vault behind this service.
    var vault: VaultID { get }

    /// Claims the vault for a writer or a reader. While a lease is live, nothing that it was promised is collected.
    ///
    /// - Throws: `denied` for a machine that the vault does not know, `notFound` for a point that a reader wants pinned.
    func openLease(_ request: LeaseRequest) throws -> Lease

    /// Ends a lease. Ending one that is unknown or ended already is fine.
    func closeLease(_ id: LeaseID)

    /// Makes a point visible. On return it is on stable storage. Committing the same point again answers the same.
    ///
    /// - Throws: `missingBlobs`; `headMoved` when another writer has committed for this incarnation since the lease was
    ///   opened; `denied` when the signature is not the machine's; `leaseLost`; `noSpace`.
    func commit(_ point: SealedPoint, lease: LeaseID) throws -> CommitReceipt

    /// As `store` for each of some small packs in their order, then `commit`, in one step where that is possible: what fails
    /// leaves at most blobs that nobody refers to, and doing it again is harmless.
    ///
    /// - Parameter packs: at most `VaultLimits.ridingBytes` in all.
    func commit(_ point: SealedPoint, with packs: [SealedPack], lease: LeaseID) throws -> CommitReceipt

    /// The points that the query selects, by effective time, oldest first.
    func points(_ query: PointQuery) throws -> [PointSummary]

    /// The whole stored point, to be opened with the vault's keys. Throws `notFound`.
    func point(_ id: PointID) throws -> SealedPoint

    /// Every record of a machine that the vault holds, in any order: more than one when it joined again. A reader checks
    /// who signed a point with them, and the vault's signature on them, because it need not believe the service.
    func machineRecords(of machine: MachineID) throws -> [MachineRecord]

    /// The machines that have joined, as far as whoever asks may see them; of several records for one machine the one
    /// joined last.
    func machineRecords() throws -> [MachineID: MachineRecord]

    /// The redactions of a point that the vault holds, in any order. A reader opens what the newest puts in place of the
    /// point's record, after the check of the vault's signature.
    func redactions(of point: PointID) throws -> [RedactionRecord]
}

extension VaultService {
    package func redactions(of point: PointID) throws -> [RedactionRecord] { [] }

    package func commit(_ point: SealedPoint, with packs: [SealedPack], lease: LeaseID) throws -> CommitReceipt {
        for pack in packs { try store(pack, lease: lease) }
        return try commit(point, lease: lease)
    }
}

/// Bounds of the service.
package enum VaultLimits {
    /// Most ids of one question to `missing`: 128 KiB of ids.
    package static let missingBatch = 4_096
    /// Bytes of the packs that one commit may bring along.
    package static let ridingBytes = 256 << 10
    /// Blobs in one transaction of the collector, so that writers wait for milliseconds only.
    package static let collectionBatch = 4_096
    /// Packs below this are merged by collection.
    package static let smallPack = 4 << 20
    /// A pack is rewritten when at most this percentage of its bytes is still in use.
    package static let livePercent = 50
}

/// A blob that a writer asks for.
package struct BlobQuestion: Sendable {
    package var id: BlobID
    /// Shows that the writer has the plaintext; without it only its own and checked copies count.
    package var key: ContentKey?

    package init(id: BlobID, key: ContentKey? = nil) {
        self.id = id
        self.key = key
    }
}

extension BlobIntake {
    /// The same without content keys.
    package func missing(_ ids: [BlobID], lease: LeaseID) throws -> [Bool] {
        try missing(ids.map { BlobQuestion(id: $0) }, lease: lease)
    }
}

/// A writer's or reader's claim on the vault.
package struct LeaseID: RandomIdentifier {
    package let high: UInt64, low: UInt64
    package init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }
}

/// Who wants a lease, and for what.
package struct LeaseRequest: Sendable {
    /// What the lease is for.
    package enum Purpose: Sendable {
        /// Adding a point of `machine`. `head` is the newest point that the writer remembers; `base` is the point whose
        /// nodes it will not send again.
        case writer(machine: MachineID, head: MachineHead?, base: PointID?)
        /// Reading. What the points name stays, even when the points are deleted meanwhile.
        case reader(points: [PointID])
    }
    package var purpose: Purpose

    package init(_ purpose: Purpose) { self.purpose = purpose }

    /// A writer of `machine`.
    package static func writer(machine: MachineID, head: MachineHead? = nil, base: PointID? = nil) -> LeaseRequest {
        LeaseRequest(.writer(machine: machine, head: head, base: base))
    }

    /// A reader of `points`.
    package static func reader(_ points: [PointID] = []) -> LeaseRequest { LeaseRequest(.reader(points: points)) }
}

/// The answer to a request for a lease.
package struct Lease: Sendable {
    package var id: LeaseID
    /// The vault's generation at opening.
    package var generation: UInt64
    /// The machine's newest stored point of any incarnation; `nil` for readers and new machines.
    package var head: MachineHead?
    /// Writers: the incarnation, number and previous hash of the next point to commit.
    package var next: PointPosition
    /// Writers: the remembered head is not the vault's (state reverted, cloned or lost, or there was none): drop every
    /// cache, scan, and say so with a label.
    package var isNewIncarnation: Bool
    /// Writers: the base point is stored and whole, so its nodes need not be sent.
    package var baseAvailable: Bool
    /// Blobs that are damaged or lost among what the base (or the machine's newest point) names, and the nodes above
    /// them. Sending them again heals the vault.
    package var damaged: [BlobID]

    package init(
        id: LeaseID, generation: UInt64, head: MachineHead?, next: PointPosition, isNewIncarnation: Bool,
        baseAvailable: Bool, damaged: [BlobID]
    ) {
        self.id = id
        self.generation = generation
        self.head = head
        self.next = next
        self.isNewIncarnation = isNewIncarnation
        self.baseAvailable = baseAvailable
        self.damaged = damaged
    }
}

/// Where a point stands in its machine's history.
package struct PointPosition: Hashable, Sendable {
    package var incarnation: IncarnationID
    /// Dense from 1.
    package var number: UInt64
    /// The hash of the locator before; `.none` for number 1.
    package var previous: LocatorHash

    package init(incarnation: IncarnationID, number: UInt64, previous: LocatorHash) {
        self.incarnation = incarnation
        self.number = number
        self.previous = previous
    }
}

/// The answer to a commit.
package struct CommitReceipt: Hashable, Sendable {
    package var point: PointID
    /// By the vault's clock.
    package var arrival: Timestamp
    /// The incarnation's head after the commit: everything up to its number is stored.
    package var storedUpTo: MachineHead

    package init(point: PointID, arrival: Timestamp, storedUpTo: MachineHead) {
        self.point = point
        self.arrival = arrival
        self.storedUpTo = storedUpTo
    }
}

/// Which points to list. Empty fields select everything.
package struct PointQuery: Sendable {
    package var machine: MachineID?
    package var ids: [PointID] = []
    /// Only the newest so many.
    package var newest: Int?

    package init(machine: MachineID? = nil, ids: [PointID] = [], newest: Int? = nil) {
        self.machine = machine
        self.ids = ids
        self.newest = newest
    }
}

/// What can be said of a point without a key.
package struct PointSummary: Hashable, Sendable {
    package var id: PointID
    package var machine: MachineID
    package var incarnation: IncarnationID
    package var number: UInt64
    /// The writer's clock.
    package var time: Timestamp
    /// The vault's clock.
    package var arrival: Timestamp
    /// The time that retention counts by; see `EffectiveTime`.
    package var effective: Timestamp
    package var kind: PointKind
    package var isPartial: Bool
    package var isPinned: Bool
    /// See `PointLocator.series`.
    package var series: UInt64
    package var hash: LocatorHash
    package var previous: LocatorHash
    /// The ids of the root and of the deltas over it, sorted.
    package var references: [BlobID]
    package var condition: Condition
    /// Whether a hold keeps it.
    package var isHeld: Bool

    /// What is known about the point's contents.
    package enum Condition: UInt8, Sendable {
        case whole = 0
        /// Something that it names is damaged or lost.
        case damaged = 1
        /// It does not fit its machine's history: found in the store with a number that another point has.
        case outOfChain = 2
    }

    /// Complete and undamaged: what retention counts on.
    package var isSound: Bool { !isPartial && condition == .whole }

    package init(
        id: PointID, machine: MachineID, incarnation: IncarnationID, number: UInt64, time: Timestamp,
        arrival: Timestamp, effective: Timestamp, kind: PointKind, isPartial: Bool, isPinned: Bool, series: UInt64 = 0,
        hash: LocatorHash,
        previous: LocatorHash, references: [BlobID], condition: Condition, isHeld: Bool
    ) {
        self.id = id
        self.machine = machine
        self.incarnation = incarnation
        self.number = number
        self.time = time
        self.arrival = arrival
        self.effective = effective
        self.kind = kind
        self.isPartial = isPartial
        self.isPinned = isPinned
        self.series = series
        self.hash = hash
        self.previous = previous
        self.references = references
        self.condition = condition
        self.isHeld = isHeld
    }
}

extension HoldfastError.Code {
    /// Another writer has committed for the same incarnation: open a new lease.
    package static let headMoved = HoldfastError.Code("head-moved")
}
