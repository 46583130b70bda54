import Glibc
package import Model
import Platform
import Synchronization

/// Hashes, deduplicates, compresses, seals and packs blobs on threads of its own.
///
/// Reading threads submit plaintext in slabs and get tickets. Workers hash a batch, ask the vault once which of it is
/// missing, seal that into the open pack, and resolve the tickets. Full packs are named and stored by another thread,
/// so that waiting for the disk costs no processor time. Everything is bounded: slabs by their pool, packs by a short
/// queue. The first error stops the pipeline, and every call from then on throws it.
package final class SealingPipeline: @unchecked Sendable {
    // Sound: mutable state is inside `Monitor` and `Mutex`; `threads` is touched by the owner only.

    /// How a run seals.
    package struct Options: Sendable {
        package var compression: Compression
        /// Threads that hash and seal.
        package var workers: Int
        /// Open every blob again after sealing, not only one in sixteen.
        package var verifyWrites: Bool
        package init(compression: Compression = .fast, workers: Int = 2, verifyWrites: Bool = false) {
            self.compression = compression
            self.workers = workers
            self.verifyWrites = verifyWrites
        }
    }

    private struct Job {
        let pieces: [SlabRange]
        let ticket: BlobTicket
        var length: Int { pieces.reduce(0) { $0 + $1.range.count } }
    }

    private struct Queue {
        var jobs: [Job] = []
        var head = 0
        var isClosed = false
        var error: (any Error)?
        var count: Int { jobs.count - head }

        mutating func take(atMost count: Int) -> [Job] {
            let end = min(jobs.count, head + count)
            let taken = Array(jobs[head..<end])
            head = end
            if head == jobs.count {
                jobs.removeAll(keepingCapacity: true)
                head = 0
            }
            return taken
        }
    }

    /// A pack that blobs are added to. Guarded by the monitor that holds it, later owned by the storing thread.
    private final class OpenPack {
        private var builder: PackBuilder?
        private(set) var count = 0
        private(set) var isFull = false

        init(vault: VaultID, writer: WriterID, packClass: PackClass) {
            builder = PackBuilder(vault: vault, writer: writer, packClass: packClass)
        }

        func append(from buffer: [UInt8], _ blob: PackedBlob) throws {
            try builder?.append(from: buffer, blob)
            count += 1
            isFull = builder?.isFull ?? true
        }

        func finish() throws -> SealedPack {
            guard var builder = builder.take() else {
                throw HoldfastError(.internalError, "a pack was finished twice")
            }
            return try builder.finish()
        }
    }

    private struct Packing {
        var open: OpenPack
        /// Full packs that wait to be stored.
        var waiting: [OpenPack] = []
        /// Packs handed to the storing thread and not yet stored.
        var outstanding = 0
        var isClosed = false
        /// Blobs sealed in this run whose pack is not registered yet.
        var inFlight: Set<BlobID> = []
        /// Those of them that a worker has claimed and not yet added to a pack.
        var unappended: Set<BlobID> = []
        var error: (any Error)?
    }

    private struct Meta {
        var open: OpenPack
        var sealer: BlobSealer
        var opener: BlobOpener
        var sent: Set<BlobID> = []
    }

    /// Most jobs a worker takes at once: one question to the vault answers them all.
    private static let batch = 16
    /// Most packs that wait to be stored beside the open one.
    private static let waitingPacks = 1

    private let service: any BlobIntake
    private let lease: LeaseID
    private let vault: VaultID
    private let writer: WriterID
    private let deriver: BlobKeyDeriver
    private let secretNumber: UInt16
    private let options: Options
    package let counters: WritingCounters

    private let queue = Monitor(Queue())
    private let packing: Monitor<Packing>
    private let progress = Monitor(0)
    private let meta: Monitor<Meta>
    private var threads: [WorkerThread] = []

    package init(
        service: any BlobIntake,
        lease: LeaseID,
        vault: VaultID,
        machine: MachineID,
        secret: DomainSecret,
        options: Options,
        counters: WritingCounters = WritingCounters()
    ) {
        self.service = service
        self.lease = lease
        self.vault = vault
        writer = WriterID(machine)
        self.options = options
        self.counters = counters
        deriver = BlobKeyDeriver(convergence: secret.secret, number: secret.number)
        secretNumber = secret.number
        packing = Monitor(Packing(open: OpenPack(vault: vault, writer: writer, packClass: .data)))
        meta = Monitor(
            Meta(
                open: OpenPack(vault: vault, writer: writer, packClass: .meta),
                sealer: BlobSealer(compression: options.compression),
                opener: BlobOpener()
            )
        )
    }

    /// Starts the threads.
    package func start() throws {
        for index in 0..<max(1, options.workers) {
            threads.append(try WorkerThread(name: "seal-\(index)") { [self] in runWorker() })
        }
        threads.append(try WorkerThread(name: "store") { [self] in runStorer() })
    }

    /// Ends the threads; sealed packs that were not flushed are dropped. Harmless to call twice.
    package func stop() {
        queue.update { queue in
            queue.isClosed = true
            if queue.error == nil { queue.error = HoldfastError(.cancelled, "the backup was stopped") }
        }
        packing.update { packing in
            packing.isClosed = true
            // Workers whose pack is full wait for the thread that stores packs, which may have ended.
            if packing.error == nil { packing.error = HoldfastError(.cancelled, "the backup was stopped") }
        }
        for thread in threads { thread.join() }
        threads = []
    }

    // MARK: Submitting

    /// Hands a data blob to the workers. `pieces` are joined in order; together at most 1 MiB.
    package func submit(_ pieces: [SlabRange]) throws -> BlobTicket {
        let ticket = BlobTicket()
        try queue.update { queue in
            if let error = queue.error { throw error }
            queue.jobs.append(Job(pieces: pieces, ticket: ticket))
        }
        return ticket
    }

    /// Waits for a ticket.
    package func wait(for ticket: BlobTicket) throws -> ContentKey {
        if let key = ticket.key { return key }
        return try progress.wait { _ -> Result<ContentKey, any Error>? in
            if let key = ticket.key { return .success(key) }
            if let error = failure { return .failure(error) }
            return nil
        }.get()
    }

    /// The first error, if any.
    package var failure: (any Error)? { queue.withLock { $0.error } }

    private func fail(_ error: any Error) {
        queue.update { queue in
            if queue.error == nil { queue.error = error }
            // Dropping the jobs gives their slabs back.
            queue.jobs = []
            queue.head = 0
        }
        packing.update { packing in
            if packing.error == nil { packing.error = error }
        }
        progress.update { $0 += 1 }
    }

    // MARK: Workers

    private func runWorker() {
        let sealer = BlobSealer(compression: options.compression)
        let opener = BlobOpener()
        let scratch = UnsafeMutableRawBufferPointer.allocate(
            byteCount: FormatLimits.blobPlainLength, alignment: 64)
        defer { scratch.deallocate() }
        var framed: [UInt8] = []
        framed.reserveCapacity(FormatLimits.blobPlainLength + 4096)
        var sealedCount = 0
        do {
            while let jobs = nextJobs() {
                var keys: [ContentKey] = []
                keys.reserveCapacity(jobs.count)
                var hashed: UInt64 = 0
                for job in jobs {
                    let plain = SealingPipeline.gather(job.pieces, scratch)
                    hashed += UInt64(plain.count)
                    keys.append(deriver.contentKey(.data, plain))
                }
                counters.hashedBytes.wrappingAdd(hashed, ordering: .relaxed)
                let ids = keys.map { BlobCrypto.id(of: $0) }
                let needed = try claim(ids, keys)
                for index in jobs.indices where needed[index] {
                    let plain = SealingPipeline.gather(jobs[index].pieces, scratch)
                    framed.removeAll(keepingCapacity: true)
                    let packed = try sealer.seal(
                        type: .data, key: keys[index], id: ids[index], secretNumber: secretNumber, references: [],
                        plain: plain, into: &framed)
                    sealedCount += 1
                    if options.verifyWrites || sealedCount % 16 == 1 {
                        try SealingPipeline.check(framed, key: keys[index], type: .data, plain: plain, opener: opener)
                    }
                    counters.newBytes.wrappingAdd(UInt64(plain.count), ordering: .relaxed)
                    counters.newBlobs.wrappingAdd(1, ordering: .relaxed)
                    try append(framed, packed)
                }
                try waitForTwins(ids)
                for index in jobs.indices { jobs[index].ticket.resolve(keys[index]) }
                progress.update { $0 += 1 }
            }
        } catch {
            fail(error)
        }
    }

    private func nextJobs() -> [Job]? {
        let jobs = queue.wait { queue -> [Job]? in
            if queue.error != nil { return [] }
            if queue.count > 0 {
                // Leave some for the other workers: a batch is for asking, not for hoarding.
                let share = max(1, min(SealingPipeline.batch, queue.count / max(1, options.workers)))
                return queue.take(atMost: share)
            }
            return queue.isClosed ? [] : nil
        }
        return jobs.isEmpty ? nil : jobs
    }

    private static func gather(
        _ pieces: [SlabRange], _ scratch: UnsafeMutableRawBufferPointer
    ) -> UnsafeRawBufferPointer {
        if pieces.count == 1 { return pieces[0].bytes }
        var length = 0
        for piece in pieces {
            UnsafeMutableRawBufferPointer(rebasing: scratch[length...]).copyMemory(from: piece.bytes)
            length += piece.range.count
        }
        return UnsafeRawBufferPointer(rebasing: scratch[..<length])
    }

    /// Memory errors happen: what was sealed is opened again and compared before anything relies on it.
    private static func check(
        _ framed: [UInt8], key: ContentKey, type: BlobType, plain: UnsafeRawBufferPointer, opener: BlobOpener
    ) throws {
        try framed.withUnsafeBytes { framed in
            try opener.open(framed, key: key, expecting: type) { opened in
                guard opened.elementsEqualMemory(plain) else {
                    throw HoldfastError(
                        .damaged,
                        "a blob did not open to what was sealed into it: this machine's memory or processor is faulty. "
                            + "Nothing was stored; run a memory test before the next backup.")
                }
            }
        }
    }

    /// Which of the blobs must be sealed by the caller. Those are in flight from now on.
    private func claim(_ ids: [BlobID], _ keys: [ContentKey]) throws -> [Bool] {
        var needed = [Bool](repeating: false, count: ids.count)
        packing.withLock { packing in
            for index in ids.indices {
                needed[index] = packing.inFlight.insert(ids[index]).inserted
                if needed[index] { packing.unappended.insert(ids[index]) }
            }
        }
        let asked = ids.indices.filter { needed[$0] }
        if asked.isEmpty { return needed }
        let missing = try service.missing(asked.map { BlobQuestion(id: ids[$0], key: keys[$0]) }, lease: lease)
        var present: [BlobID] = []
        for (position, index) in asked.enumerated() where !missing[position] {
            needed[index] = false
            present.append(ids[index])
        }
        if !present.isEmpty {
            packing.update { packing in
                for id in present {
                    packing.inFlight.remove(id)
                    packing.unappended.remove(id)
                }
            }
        }
        return needed
    }

    /// Waits until blobs that another worker has claimed lie in a pack: only then may anything name them, because only what
    /// lies in a pack is stored by `flushData`. Nobody waits for anybody with claims of his own left, so all come through.
    private func waitForTwins(_ ids: [BlobID]) throws {
        try packing.wait { packing -> Void? in
            if let error = packing.error { throw error }
            return packing.unappended.isDisjoint(with: ids) ? () : nil
        }
    }

    // MARK: Packs

    private func append(_ framed: [UInt8], _ packed: PackedBlob) throws {
        let isFull = try packing.update { packing in
            try packing.open.append(from: framed, packed)
            packing.unappended.remove(packed.id)
            return packing.open.isFull
        }
        guard isFull else { return }
        try packing.update { packing in
            // Another worker may have moved it meanwhile.
            if packing.open.isFull { try closeOpenPack(&packing) }
        }
        try packing.wait { packing -> Void? in
            if let error = packing.error { throw error }
            return packing.waiting.count <= SealingPipeline.waitingPacks ? () : nil
        }
    }

    /// Moves the open pack to those that wait.
    private func closeOpenPack(_ packing: inout Packing) throws {
        if let error = packing.error { throw error }
        packing.waiting.append(packing.open)
        packing.outstanding += 1
        packing.open = OpenPack(vault: vault, writer: writer, packClass: .data)
    }

    private func runStorer() {
        do {
            while true {
                let next = packing.wait { packing -> [OpenPack]? in
                    if packing.error != nil { return [] }
                    if !packing.waiting.isEmpty { return [packing.waiting.removeFirst()] }
                    return packing.isClosed ? [] : nil
                }
                guard let full = next.first else { return }
                // There is room for another now.
                packing.update { _ in }
                let ids = try store(full)
                packing.update { packing in
                    packing.outstanding -= 1
                    for id in ids { packing.inFlight.remove(id) }
                }
            }
        } catch {
            fail(error)
        }
    }

    /// Names and stores a pack.
    private func store(_ full: OpenPack) throws -> [BlobID] { try deliver(try full.finish()) }

    /// Stores a pack that is made already. A name that the vault is just deleting is avoided by packing the same blobs anew.
    ///
    /// - Returns: its blobs, and perhaps one more that nothing names.
    @discardableResult
    package func deliver(_ pack: SealedPack) throws -> [BlobID] {
        var pack = pack
        do {
            try service.store(pack, lease: lease)
        } catch let error as HoldfastError where error.code == .condemned {
            // In the same order they would make the same name again.
            // Nodes stand behind what they name, in this order only.
            if pack.packClass == .data, pack.blobs.count > 1 {
                pack = try pack.reordered(in: vault)
                try service.store(pack, lease: lease)
            } else {
                pack = try padded(pack)
                try service.store(pack, lease: lease)
            }
        }
        counters.storedBytes.wrappingAdd(UInt64(pack.bytes.count), ordering: .relaxed)
        counters.storedPacks.wrappingAdd(1, ordering: .relaxed)
        return pack.blobs.map { $0.id }
    }

    /// Where there is no other order: a blob that nothing names stands beside it, until the next collection.
    private func padded(_ pack: SealedPack) throws -> SealedPack {
        let again = OpenPack(vault: vault, writer: writer, packClass: pack.packClass)
        for blob in pack.blobs { try again.append(from: pack.bytes, blob) }
        var framed: [UInt8] = []
        let type: BlobType = pack.packClass == .data ? .data : .node
        let filler = try withUnsafeBytes(of: UInt64.random(in: 0 ... .max)) { plain in
            let key = deriver.contentKey(type, plain)
            return try BlobSealer(compression: options.compression).seal(
                type: type, key: key, id: BlobCrypto.id(of: key), secretNumber: secretNumber, references: [],
                plain: plain, into: &framed)
        }
        try again.append(from: framed, filler)
        return try again.finish()
    }

    /// Stores the open data pack and waits until every data pack is registered.
    package func flushData() throws {
        try packing.update { packing in
            if let error = packing.error { throw error }
            if packing.open.count > 0 { try closeOpenPack(&packing) }
        }
        try packing.wait { packing -> Void? in
            if let error = packing.error { throw error }
            return packing.outstanding == 0 ? () : nil
        }
    }

    /// Stores what is open: data first, then meta, so that everything a node names is registered before it.
    package func flush() throws {
        try flushData()
        try meta.withLock { try storeMeta(&$0) }
    }

    private func storeMeta(_ meta: inout Meta) throws {
        guard meta.open.count > 0 else { return }
        let full = meta.open
        meta.open = OpenPack(vault: vault, writer: writer, packClass: .meta)
        meta.sent.removeAll(keepingCapacity: true)
        _ = try store(full)
    }
}

extension SealingPipeline {
    /// Seals a node, a piece of a list of extents or a delta, unless it is among `known`: the nodes of the writer's
    /// newest stored point, which need not be sent.
    package func put(
        type: BlobType, plain: [UInt8], children: [ContentKey], known: Set<ContentKey>
    ) throws -> ContentKey {
        try plain.withUnsafeBytes { bytes in
            let key = deriver.contentKey(type, bytes)
            if known.contains(key) { return key }
            let id = BlobCrypto.id(of: key)
            try meta.withLock { meta in
                guard meta.sent.insert(id).inserted else { return }
                let references = Set(children.map { BlobCrypto.id(of: $0) }).sorted()
                var framed: [UInt8] = []
                framed.reserveCapacity(plain.count + references.count * 32 + 128)
                let packed = try meta.sealer.seal(
                    type: type, key: key, id: id, secretNumber: secretNumber, references: references, plain: bytes,
                    into: &framed)
                try SealingPipeline.check(framed, key: key, type: type, plain: bytes, opener: meta.opener)
                try meta.open.append(from: framed, packed)
                if meta.open.isFull {
                    try flushData()
                    try storeMeta(&meta)
                }
            }
            return key
        }
    }
}

extension UnsafeRawBufferPointer {
    /// Whether both hold the same bytes.
    func elementsEqualMemory(_ other: UnsafeRawBufferPointer) -> Bool {
        count == other.count && (count == 0 || memcmp(baseAddress!, other.baseAddress!, count) == 0)
    }
}
