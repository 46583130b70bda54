package import Model
import Platform
import Synchronization

/// A vault whose catalog and store are in this process's reach. Several processes may work on one vault at once.
package final class LocalVault: VaultService {
    package let config: VaultConfig
    package let store: any BlobStore
    package let catalog: any VaultCatalog
    let guards: any LeaseGuard
    let owner: (any VaultOwnership)?
    /// Kept while the vault is in use: nobody replaces the catalog meanwhile.
    private let use: (any HeldRole)?
    /// What makes room on a full disk for work that needs little; `nil` for those who would fill it.
    let reserve: ReserveUse?
    /// Why nothing in the vault can be changed; `nil` when it can.
    private let refusal: HoldfastError?
    let clock: @Sendable () -> Timestamp
    private let machines = Mutex<[MachineID: MachineRecord]>([:])
    private let notesTaken = Mutex<[String]>([])
    private let reviewIsDue = Atomic<Bool>(false)
    private let deadLeasesDue = Mutex<Int64>(0)
    private let adoption = Mutex(AdoptionPace())
    /// Points that come at the same time share what they wait for.
    private let commits = CommitGroup<CommitRequest, CommitReceipt>()
    /// What data blobs of other machines are checked with, by the secrets' numbers; see `trust`.
    let derivers = Mutex<[UInt16: [BlobKeyDeriver]]>([:])

    package var vault: VaultID { config.vault }

    /// What opening the vault found out and did, in sentences for the person who runs it.
    package var notes: [String] { notesTaken.withLock { $0 } }

    /// Puts a vault together from its parts, and compares catalog and store when something says that they may differ: a
    /// catalog from an earlier day, or a killed writer.
    ///
    /// - Parameters:
    ///   - config: as read from the store.
    ///   - owner: where several hosts could work on the vault: the claim of this one.
    ///   - use: what says that the catalog is in use; see `VaultRole.catalog`.
    ///   - reserve: makes room on a full disk.
    ///   - refusal: why nothing in the vault can be changed, for one that is only read with a catalog of its own.
    ///   - clock: the vault's clock.
    ///   - compares: `false` for a catalog that is about to be rebuilt.
    package init(
        config: VaultConfig, store: any BlobStore, catalog: any VaultCatalog, guards: any LeaseGuard,
        owner: (any VaultOwnership)? = nil, use: (any HeldRole)? = nil,
        reserve: ReserveUse? = nil, refusal: HoldfastError? = nil,
        clock: @escaping @Sendable () -> Timestamp = { Timestamp(nanoseconds: SystemClock.wall) }, compares: Bool = true
    ) throws {
        guard catalog.vault == config.vault else {
            throw HoldfastError(.damaged, "the catalog belongs to another vault than the store")
        }
        self.config = config
        self.store = store
        self.catalog = catalog
        self.guards = guards
        self.owner = owner
        self.use = use
        self.reserve = reserve
        self.refusal = refusal
        self.clock = clock
        try config.check(operation: .read)
        if compares {
            try compareIfNeeded()
            try noteGaps()
        }
    }

    /// Adds a sentence to the notes.
    package func addNote(_ text: String) { notesTaken.withLock { $0.append(text) } }

    // MARK: Leases

    package func openLease(_ request: LeaseRequest) throws -> Lease {
        switch request.purpose {
        case .reader(let points): return try openReader(points)
        case .writer(let machine, let head, let base): return try openWriter(machine, head: head, base: base)
        }
    }

    private func openReader(_ points: [PointID]) throws -> Lease {
        let entry = LeaseEntry(id: .random(), kind: .reader, opened: clock())
        let generation = try open(entry, pinning: points)
        do {
            // A point that is there after its references were pinned was there when they were.
            let found = try catalog.places(of: points)
            if let gone = points.first(where: { found[$0] == nil }) {
                throw HoldfastError(
                    .notFound, "there is no recovery point \(gone.hex)", context: ["point": gone.hex])
            }
        } catch {
            closeLease(entry.id)
            throw error
        }
        return Lease(
            id: entry.id, generation: generation, head: nil,
            next: PointPosition(incarnation: .random(), number: 1, previous: .none), isNewIncarnation: false,
            baseAvailable: false, damaged: [])
    }

    private func openWriter(_ machine: MachineID, head: MachineHead?, base: PointID?) throws -> Lease {
        try config.check(operation: .write)
        try checkMayChange()
        try owner?.confirm()
        try closeDeadLeasesIfDue()
        try reviewIfDue()
        _ = try record(of: machine)
        // A machine that remembers more than the vault: its last points may lie in the store unknown to a catalog that was
        // put back from before.
        if let head {
            let known = try catalog.heads(of: machine).first { $0.incarnation == head.incarnation }
            if head.number > known?.number ?? 0 { try adoptIfDue() }
        }
        let entry = LeaseEntry(id: .random(), kind: .writer, machine: machine, opened: clock())
        let generation = try open(entry, pinning: base.map { [$0] } ?? [])
        do {
            let heads = try catalog.heads(of: machine)
            let known = head.flatMap { heads.contains($0) ? $0 : nil }
            let position =
                known.map { PointPosition(incarnation: $0.incarnation, number: $0.number + 1, previous: $0.hash) }
                ?? PointPosition(incarnation: .random(), number: 1, previous: .none)

            var query = PointQuery(machine: machine, newest: 1)
            if let base { query = PointQuery(machine: machine, ids: [base]) }
            let point = try catalog.points(query, now: entry.opened).first
            let damaged = try point.map { try self.damaged(below: $0.references) } ?? []
            return Lease(
                id: entry.id, generation: generation, head: heads.first, next: position,
                isNewIncarnation: known == nil, baseAvailable: base != nil && point != nil && damaged.isEmpty,
                damaged: damaged)
        } catch {
            closeLease(entry.id)
            throw error
        }
    }

    /// When the vault is searched next because of what a writer says.
    private struct AdoptionPace {
        var isRunning = false
        /// The last search did not come to its end: what it was to find may be there still.
        var hasFailed = false
        var due: Int64 = 0
        static let pause: Int64 = 10_000_000_000
    }

    /// Registers what the store has and the catalog does not know, for a writer that remembers more than the catalog. That
    /// reads the list of the whole store, and a writer can say what it likes: one at a time, with ten times as long a pause
    /// after it, in which what was found counts. Throws `busy` while one is on.
    private func adoptIfDue() throws {
        let start = SystemClock.monotonic
        let isDue = try adoption.withLock { pace in
            if pace.isRunning {
                throw HoldfastError(
                    .busy, "the vault is just being searched for points that its catalog does not know; try again",
                    isTemporary: true)
            }
            guard start >= pace.due else {
                // Going on without it would begin the machine's history anew beside the one in the store.
                guard pace.hasFailed else { return false }
                throw HoldfastError(
                    .busy, "the vault could not be searched for points that its catalog does not know; try again",
                    isTemporary: true)
            }
            pace.isRunning = true
            pace.hasFailed = true
            return true
        }
        guard isDue else { return }
        defer {
            adoption.withLock { pace in
                let now = SystemClock.monotonic
                pace.isRunning = false
                pace.due = now + max(AdoptionPace.pause, pace.hasFailed ? 0 : 10 * (now - start))
            }
        }
        try adoptUnknown()
        adoption.withLock { $0.hasFailed = false }
    }

    /// Makes a lease live and registers it.
    func open(_ entry: LeaseEntry, pinning points: [PointID] = []) throws -> UInt64 {
        try owner?.confirm()
        return try makingRoom(entry.kind != .writer) {
            try guards.hold(entry.id)
            do {
                return try catalog.openLease(entry, pinning: points)
            } catch {
                guards.release(entry.id)
                throw error
            }
        }
    }

    /// Runs what needs little room, and can be run twice; on a full disk the reserve is given back for it.
    private func makingRoom<R>(_ isAllowed: Bool = true, _ body: () throws -> R) throws -> R {
        do { return try body() } catch let error as HoldfastError {
            guard isAllowed, let reserve, reserve.makesRoom(for: error) else { throw error }
            return try body()
        }
    }

    /// Whether anything in the vault may be changed.
    var mayChange: Bool { refusal == nil }

    /// Throws the reason when the vault is only read.
    private func checkMayChange() throws { if let refusal { throw refusal } }

    package func closeLease(_ id: LeaseID) {
        // A lease that could not be unregistered is found dead by the next process and closed then; one of a host that does
        // not own the vault any more by the new owner.
        do {
            try owner?.confirm()
            // Before the lease is gone: of a lease that is found dead the next process looks by itself.
            try? reviewIfDue()
            try catalog.closeLeases([id])
        } catch {
            // The lock below ends the lease.
        }
        guards.release(id)
    }

    /// Closes the leases of processes that have died, unless that was done a moment ago: of many writers that come at once each would look through the leases of all
    /// others.
    private func closeDeadLeasesIfDue() throws {
        let isDue = deadLeasesDue.withLock { due in
            let now = SystemClock.monotonic
            guard now >= due else { return false }
            due = now + 2_000_000_000
            return true
        }
        if isDue { try closeDeadLeases() }
    }

    /// Closes the leases of processes that have died. Answers whether one of them may have left packs behind.
    @discardableResult
    func closeDeadLeases() throws -> Bool {
        let entries = try catalog.leases()
        var dead: [LeaseID] = []
        var mayHaveLeftPacks = false
        for entry in entries where try !guards.isHeld(entry.id) {
            dead.append(entry.id)
            if entry.kind != .reader { mayHaveLeftPacks = true }
        }
        if !dead.isEmpty {
            try owner?.confirm()
            try catalog.closeLeases(dead)
        }
        // Traces without a row: of processes that were killed between the two.
        let known = Set(entries.map(\.id))
        for id in try guards.traces() where try !known.contains(id) && !guards.isHeld(id) {
            dead.append(id)
            // Or the power went, and took the rows of lease and packs from the catalog.
            mayHaveLeftPacks = true
        }
        for id in dead { guards.forget(id) }
        return mayHaveLeftPacks
    }

    // MARK: Writing

    package func missing(_ blobs: [BlobQuestion], lease: LeaseID) throws -> [Bool] {
        guard blobs.count <= VaultLimits.missingBatch else {
            throw HoldfastError(.usage, "at most \(VaultLimits.missingBatch) blobs can be asked for at once")
        }
        let presence = try catalog.presence(of: blobs.map(\.id), lease: lease)
        var answers = presence.map { $0 == .missing }
        let unchecked = blobs.indices.filter { presence[$0] == .unchecked }
        if !unchecked.isEmpty {
            let proven = try prove(unchecked.map { blobs[$0] })
            for index in unchecked { answers[index] = !proven.contains(blobs[index].id) }
        }
        return answers
    }

    package func store(_ pack: SealedPack, lease: LeaseID) throws {
        // What will be refused is not stored at all. The answer that counts is the registration's.
        let entry = try bring(pack, of: try writer(lease)) {
            if pack.packClass == .meta { try checkReferences(of: pack) }
        }
        let mayComplete = try catalog.register(entry, blobs: pack.blobs, lease: lease)
        if mayComplete { reviewIsDue.store(true, ordering: .releasing) }
    }

    /// The machine that writes under a lease. Throws `leaseLost` for one that has ended, `denied` for one under which nothing
    /// is written.
    private func writer(_ lease: LeaseID) throws -> MachineID {
        guard let held = try catalog.lease(lease) else {
            throw HoldfastError(
                .leaseLost, "the lease on the vault has ended; open a new one and ask again", isTemporary: true)
        }
        guard held.kind == .writer, let machine = held.machine else {
            throw HoldfastError(.denied, "under a lease for reading nothing is written")
        }
        return machine
    }

    /// Brings a pack of `machine`, which holds the lease for it, into the store, after `check`, and answers what the catalog is
    /// to keep of it. Every pack that somebody sends comes through here.
    private func bring(_ pack: SealedPack, of machine: MachineID, _ check: () throws -> Void) throws -> PackEntry {
        guard pack.packClass != .points else {
            throw HoldfastError(.denied, "packs of points are written by the vault only")
        }
        // The header is what a rebuild and a comparison go by: nobody stores in another machine's name, which would be taken at
        // its word.
        guard pack.writer == WriterID(machine) else {
            throw HoldfastError(
                .denied, "a pack says that another machine wrote it than the one that sends it",
                context: ["machine": machine.hex])
        }
        if let known = try catalog.pack(pack.name), known.state != .stored, known.state != .lost {
            throw HoldfastError(
                .condemned, "the vault is removing a pack of this name; its blobs must be packed anew",
                context: ["pack": pack.name.hex], isTemporary: true)
        }
        try check()
        try put(pack)
        // Another host may have taken the vault over since the lease was opened: then the catalog is not ours to write.
        try owner?.confirm()
        return PackEntry(
            name: pack.name, packClass: pack.packClass, origin: pack.writer, bytes: UInt64(pack.bytes.count),
            blobCount: pack.blobs.count)
    }

    /// Looks at incomplete blobs again when packs were stored since that may have completed them: once for many packs,
    /// because it reads the references of every incomplete blob in the vault.
    func reviewIfDue() throws {
        guard reviewIsDue.exchange(false, ordering: .acquiringAndReleasing) else { return }
        do { try reviewIncomplete() } catch {
            reviewIsDue.store(true, ordering: .releasing)
            throw error
        }
    }

    private func checkReferences(of pack: SealedPack) throws {
        var inside: Set<BlobID> = []
        var outside: Set<BlobID> = []
        for blob in pack.blobs {
            for name in blob.references where !inside.contains(name) { outside.insert(name) }
            inside.insert(blob.id)
        }
        let names = Array(outside)
        var lost: [BlobID] = []
        for start in stride(from: 0, to: names.count, by: VaultLimits.missingBatch) {
            let batch = Array(names[start..<min(start + VaultLimits.missingBatch, names.count)])
            for (name, isPresent) in zip(batch, try catalog.present(batch)) where !isPresent { lost.append(name) }
        }
        if !lost.isEmpty { throw LocalVault.missingBlobs(lost.sorted()) }
    }

    static func missingBlobs(_ ids: [BlobID]) -> HoldfastError {
        var error = HoldfastError(
            .missingBlobs, "\(ids.count) blobs that are named are not in the vault; send them first", isTemporary: true)
        error.blobs = ids
        return error
    }

    /// Brings a pack into the store. An object that is there already may be a damaged one: it is compared.
    func put(_ pack: SealedPack) throws {
        let key = StoreKey.pack(pack.name)
        if try store.put(key, pack.bytes, mode: .ifAbsent) { return }
        let stored = try? store.get(key, atMost: FormatLimits.packLength)
        if stored != pack.bytes { try store.put(key, pack.bytes, mode: .replacing) }
    }

    package func commit(_ point: SealedPoint, lease: LeaseID) throws -> CommitReceipt {
        try commit(point, with: [], lease: lease)
    }

    package func commit(_ point: SealedPoint, with packs: [SealedPack], lease: LeaseID) throws -> CommitReceipt {
        guard point.locator.vault == vault else {
            throw HoldfastError(.denied, "the point is of another vault", context: ["vault": point.locator.vault.hex])
        }
        guard packs.reduce(0, { $0 + $1.bytes.count }) <= VaultLimits.ridingBytes else {
            throw HoldfastError(.usage, "the packs that a point brings along are too long; store them first")
        }
        let now = clock()
        guard point.locator.time.isPlausible, now.isPlausible else {
            throw HoldfastError(
                .denied, "the clock of this machine is wrong by centuries; set it, then back up again",
                context: ["machine": point.locator.machine.hex])
        }
        try checkSignature(of: point)
        // Data before what names it, in the order of the packs; all before the point. The point's own lease is looked at with the
        // others that come at the same time.
        let writer = try packs.isEmpty ? point.locator.machine : self.writer(lease)
        guard writer == point.locator.machine else {
            throw HoldfastError(
                .denied, "the lease belongs to another machine than the point",
                context: ["point": point.locator.point.hex])
        }
        let stored = try packs.map { pack in (entry: try bring(pack, of: writer) {}, blobs: pack.blobs) }
        try owner?.confirm()
        let request = CommitRequest(
            commit: PointCommit(point: PointEntry(point), lease: lease, packs: stored), point: point)
        return try commits.run(request, key: point.locator.machine.low) { try commit($0) }
    }

    /// A point that waits to be committed with others.
    struct CommitRequest: Sendable {
        var commit: PointCommit
        var point: SealedPoint
    }

    /// Commits several points, of as many machines, with one pack of records and one transaction.
    private func commit(_ batch: [CommitRequest]) throws -> [Result<CommitReceipt, any Error>] {
        let now = clock()
        let (receipts, mayComplete) = try catalog.commit(batch.map(\.commit), now: now) { taken in
            let writer = taken.count == 1 ? WriterID(batch[taken[0]].point.locator.machine) : WriterID.random()
            var records = RecordPackWriter(vault: vault, writer: writer)
            for index in taken {
                var accepted = batch[index].point
                accepted.arrival = now
                try records.append(accepted)
            }
            let pack = try records.finish()
            try put(pack.sealed)
            return pack.stored
        }
        if mayComplete { reviewIsDue.store(true, ordering: .releasing) }
        return receipts
    }

    private func checkSignature(of point: SealedPoint) throws {
        let machine = point.locator.machine
        do {
            try point.verify(with: try record(of: machine).key)
        } catch let error as HoldfastError where error.code == .damaged {
            // The machine may have joined again with another key since its record was read.
            machines.withLock { $0[machine] = nil }
            do { try point.verify(with: try record(of: machine).key) } catch {
                throw HoldfastError(
                    .denied, "the point is not signed by the machine that it claims to be of",
                    context: ["machine": machine.hex], cause: error)
            }
        }
    }

    // MARK: Machines

    /// The record of a machine that may write. Throws `denied` when the vault does not know it.
    package func record(of machine: MachineID) throws -> MachineRecord {
        let (known, isFirst) = machines.withLock { ($0[machine], $0.isEmpty) }
        if let known { return known }
        // All of them at first, later its own alone: many that join one after the other would each read the records of all.
        let all = try isFirst ? machineRecords() : [:]
        if isFirst { machines.withLock { $0.merge(all) { known, _ in known } } }
        let own = try all[machine] ?? machineRecords(of: machine).max { $0.joined < $1.joined }
        guard let found = own else {
            throw HoldfastError(
                .denied, "this machine has not joined the vault; run `holdfast vault join`",
                context: ["machine": machine.hex])
        }
        machines.withLock { $0[machine] = found }
        return found
    }

    package func machineRecords(of machine: MachineID) throws -> [MachineRecord] {
        try catalog.records(of: .machine).filter { $0.subject == machine.array }.compactMap { location in
            // One record that cannot be read must not take those beside it; verification reports it.
            guard let record = try? withRecord(location, { try MachineRecord.decode($0) }) else { return nil }
            return record.machine == machine ? record : nil
        }
    }

    /// Whether anything in the vault is of this machine: a record, though it may be lost or unreadable, or a history.
    package func hasTraces(of machine: MachineID) throws -> Bool {
        let subject = machine.array
        return try catalog.records(of: .machine).contains { $0.subject == subject }
            || catalog.lostRecords(of: .machine).contains { $0.subject == subject }
            || !catalog.heads(of: machine).isEmpty
    }

    package func redactions(of point: PointID) throws -> [RedactionRecord] {
        // One that cannot be read must not bring back what it erased: the point then names blobs that may be gone, and
        // says so. Verification reports it.
        try catalog.records(of: .redaction).filter { $0.subject == point.array }.compactMap { location in
            try? withRecord(location) { try RedactionRecord.decode($0) }
        }
    }

    /// The machines that have joined; of several records for one machine the one joined last counts.
    package func machineRecords() throws -> [MachineID: MachineRecord] {
        var result: [MachineID: MachineRecord] = [:]
        for location in try catalog.records(of: .machine) {
            // A damaged record is reported by verification; its machine joins again.
            guard let record = try? withRecord(location, { try MachineRecord.decode($0) }) else { continue }
            if let other = result[record.machine], other.joined > record.joined { continue }
            result[record.machine] = record
        }
        return result
    }

    /// The time to write into a new record of a machine: now, but later than in every record that there is, because the one
    /// joined last counts and a clock may have been ahead.
    package func joiningTime(of machine: MachineID, now: Timestamp) throws -> Timestamp {
        let last = try machineRecords(of: machine).map(\.joined).max()
        return max(now, last?.advanced(by: 1) ?? now)
    }

    /// Lets a machine write. The record must be signed by the vault.
    package func register(_ machine: MachineRecord) throws {
        try config.check(operation: .write)
        try machine.verify(with: config.signing)
        try owner?.confirm()
        var records = RecordPackWriter(vault: vault, writer: .random())
        try records.append(machine)
        try add(records.finish())
        machines.withLock { $0[machine.machine] = nil }
    }

    /// Stores a pack of records and registers it.
    func add(_ pack: (sealed: SealedPack, stored: StoredRecordPack)) throws {
        try checkMayChange()
        let lease = LeaseEntry(id: .random(), kind: .maintenance, opened: clock())
        _ = try open(lease)
        defer { closeLease(lease.id) }
        try makingRoom {
            try put(pack.sealed)
            try catalog.add(pack.stored, now: clock())
        }
    }

    // MARK: Points

    package func points(_ query: PointQuery) throws -> [PointSummary] {
        try reviewIfDue()
        var points = try catalog.points(query, now: clock())
        let holds: [HoldRecord.Content]
        do { holds = try self.holds().filter(\.isPlaced) } catch let error as HoldfastError where error.code == .damaged
        {
            // A hold that cannot be read may cover anything; listing and restoring go on.
            for index in points.indices { points[index].isHeld = true }
            return points
        }
        if !holds.isEmpty {
            for index in points.indices {
                let point = points[index]
                // Any of its times: effective ones follow from the clock, and a clock that is wrong lifts no hold.
                points[index].isHeld = holds.contains { hold in
                    [point.effective, point.arrival, point.time].contains {
                        hold.covers(machine: point.machine, time: $0)
                    }
                }
            }
        }
        return points
    }

    /// All points, or those of one machine, oldest first, as `points` lists them.
    package func order(of machine: MachineID?) throws -> [PointID] {
        try reviewIfDue()
        return try catalog.order(of: machine, now: clock())
    }

    /// Whose points are, whichever of them there are.
    package func owners(of points: [PointID]) throws -> [PointID: MachineID] {
        try catalog.places(of: points).mapValues(\.machine)
    }

    package func point(_ id: PointID) throws -> SealedPoint {
        guard let place = try catalog.places(of: [id])[id] else {
            throw HoldfastError(.notFound, "there is no recovery point \(id.hex)", context: ["point": id.hex])
        }
        var reason: (any Error)?
        for location in try catalog.records(of: id) {
            do {
                let point = try withRecord(location) { try SealedPoint.decode($0) }
                // Another record under the point's id is not the point.
                if point.locator.hash == place.hash { return point }
            } catch let error as HoldfastError
                where error.code == .damaged || error.code == .notFound || error.code == .io
            {
                reason = error
            }
        }
        throw HoldfastError(
            .damaged,
            "the record of point \(id.hex) is damaged or lost, and without it nothing of the point opens; if you have a copy "
                + "of the vault's packs, put it back and run `holdfast vault verify`",
            context: ["point": id.hex], cause: reason)
    }

    /// Lends the body of a record of class 3. When the pack is gone, a collection may have merged it with others since its
    /// place was asked for: then the record is read where it is now.
    func withRecord<R>(_ location: RecordLocation, _ body: (UnsafeRawBufferPointer) throws -> R) throws -> R {
        var tried: Set<Int64> = []
        var place = location
        while true {
            do { return try withRecord(at: place, body) } catch let error as HoldfastError where error.code == .notFound
            {
                tried.insert(place.pack)
                guard let next = try catalog.records(named: location.id).first(where: { !tried.contains($0.pack) })
                else {
                    throw error
                }
                place = next
            }
        }
    }

    private func withRecord<R>(
        at location: RecordLocation, _ body: (UnsafeRawBufferPointer) throws -> R
    ) throws -> R {
        let end = location.offset + UInt64(location.length)
        let framed = try store.get(StoreKey.pack(location.packName), location.offset..<end)
        return try framed.withUnsafeBytes { try body(try BlobOpener.record($0, expecting: location.type)) }
    }
}

extension WriterID {
    /// Blobs of a machine, in packs that the vault writes.
    init(_ machine: MachineID) { self.init(high: machine.high, low: machine.low) }
}

extension PointEntry {
    /// What the catalog keeps of a stored point.
    package init(_ point: SealedPoint) {
        let locator = point.locator
        self.init(
            id: locator.point, machine: locator.machine, incarnation: locator.incarnation, number: locator.number,
            time: locator.time, kind: locator.kind, isPartial: locator.isPartial, isPinned: locator.isPinned,
            series: locator.series, hash: locator.hash, previous: locator.previous, references: locator.references,
            arrival: point.arrival)
    }
}
