import Model

/// The deepest check: opens what points name, from the root down, and compares it with its content keys.
///
/// Content keys stand in the plaintext of what lies above: so the walk begins at the points' records. That a blob was seen
/// in this run is noted in the catalog, not in memory.
extension LocalVault {
    func checkData(
        _ chosen: [PackEntry], _ total: UInt64, _ now: Timestamp, _ request: VerificationRequest,
        _ report: inout VerificationReport
    ) throws {
        guard let keys = request.keys else { return }
        let lease = LeaseEntry(id: .random(), kind: .reader, opened: clock())
        let all = try points(PointQuery())
        _ = try open(lease, pinning: all.map(\.id))
        defer { closeLease(lease.id) }
        var walk = DataWalk(vault: self, keys: keys, packs: Set(chosen.map(\.number)), time: now)
        // Whether everything that the points name was reached: only then are the packs without a finding checked.
        var isComplete = true
        for point in all {
            do {
                let record = try openRecord(of: point.id, keys)
                var domains = [keys.defaultDomain(of: point.machine), DomainSecret.vaultDomain]
                domains.append(DomainSecret.domain(of: point.machine))
                if let own = try? self.record(of: point.machine).domain { domains.insert(own, at: 0) }
                let domain = try domains.first { try walk.isDomain($0, of: record.root) }
                if domain == nil {
                    report.findings.append(
                        "point \(point.id.hex) was made with other secrets than its machine has now: what it names was opened, "
                            + "but not compared with its content keys")
                }
                if try !walk.walk([record.root] + record.deltas, domain: domain, request, total) {
                    report.findings.append("point \(point.id.hex) names too much to be opened without its secrets")
                    isComplete = false
                }
            } catch let error as HoldfastError
                where [.damaged, .wrongKey, .notFound, .io].contains(error.code)
            {
                report.findings.append("point \(point.id.hex) cannot be opened: \(error.message)")
                isComplete = false
            }
        }
        report.checkedBlobs = walk.checkedBlobs
        report.checkedBytes = walk.checkedBytes
        report.foundBlobs += walk.foundBlobs
        guard isComplete, !walk.hasUnreadNodes else {
            // What hangs below was not opened, and nobody knows in which packs that lies: they are chosen again.
            report.checkedPacks = chosen.count { walk.openedPacks.contains($0.number) }
            return
        }
        report.checkedPacks = chosen.count
        for pack in chosen { try catalog.setChecked(pack.number, level: .data, at: now) }
    }

    /// The record of a point, or the one that a redaction put in its place, after the check of who signed it: what it names
    /// is compared and reported as what a machine of this vault stored.
    func openRecord(of id: PointID, _ keys: VaultKeys) throws -> PointRecord {
        let sealed = try point(id)
        return try keys.openRecord(
            sealed, machines: try machineRecords(of: sealed.locator.machine), redactions: try redactions(of: id))
    }
}

/// The walk from content keys to what they open.
private struct DataWalk {
    let vault: LocalVault
    let keys: VaultKeys
    /// Data blobs are opened in these packs only; nodes always, because they lead to the others.
    let packs: Set<Int64>
    /// What was checked at this time was checked by this run.
    let time: Timestamp
    var checkedBlobs = 0
    var checkedBytes: UInt64 = 0
    var foundBlobs = 0
    /// Packs in which a blob was opened.
    private(set) var openedPacks: Set<Int64> = []
    /// Nodes could not be opened, and what lies below them was not reached.
    private(set) var hasUnreadNodes = false
    private let opener = BlobOpener()

    /// Content keys of one step: about a megabyte of nodes at a time keeps the stack small.
    private static let step = 256
    /// Most copies that are opened without being compared, for one point: they are remembered in memory.
    private static let uncompared = 1 << 20

    init(vault: LocalVault, keys: VaultKeys, packs: Set<Int64>, time: Timestamp) {
        self.vault = vault
        self.keys = keys
        self.packs = packs
        self.time = time
    }

    /// Whether the root's content key is the one that the domain's secret gives. A wrong domain must not make everything
    /// look damaged.
    func isDomain(_ domain: String, of root: ContentKey) throws -> Bool {
        var answer = true
        do {
            try vault.read([BlobCrypto.id(of: root)]) { _, framed in
                let frame = try BlobFrame(framed)
                let deriver = deriver(domain, frame.secretNumber)
                answer = try opener.open(framed, key: root, expecting: .node) { deriver.contentKey(.node, $0) == root }
            }
        } catch let error as HoldfastError where error.code == .damaged {
            // The walk records it.
        }
        return answer
    }

    private func deriver(_ domain: String, _ number: UInt16) -> BlobKeyDeriver {
        BlobKeyDeriver(convergence: keys.domainSecret(domain: domain, number: number).secret, number: number)
    }

    /// Opens what lies below the roots. Answers whether it came to the end.
    ///
    /// Without a domain nothing is compared with its content key, so nothing is noted as checked: whoever made the root may
    /// have named rubbish of his own under a key that others are going to use, and what is checked is trusted.
    mutating func walk(
        _ roots: [ContentKey], domain: String?, _ request: VerificationRequest, _ total: UInt64
    ) throws -> Bool {
        var derivers: [UInt16: [BlobKeyDeriver]] = [:]
        var stack = roots
        var opened: Set<CopyReference> = []
        while !stack.isEmpty {
            if opened.count > DataWalk.uncompared { return false }
            var wanted: [BlobID: ContentKey] = [:]
            for key in stack.suffix(DataWalk.step) { wanted[BlobCrypto.id(of: key)] = key }
            stack.removeLast(min(DataWalk.step, stack.count))
            // Every copy is checked, not only the one that a reader would take first.
            var bytes: UInt64 = 0
            let all = try vault.catalog.copies(of: Array(wanted.keys))
            // Below a node it goes on from any of its copies.
            var reached = Set(
                all.filter { $0.checked == time || opened.contains($0.reference) }.map(\.id))
            var failed: Set<BlobID> = []
            let copies = all.filter { copy in
                copy.checked != time && (copy.type != .data || packs.contains(copy.pack))
                    && !opened.contains(copy.reference)
            }
            var checked: [CopyReference] = []
            for run in LocalVault.runs(copies) {
                for copy in run {
                    guard let key = wanted[copy.id] else { continue }
                    var isIntact = false
                    do {
                        let range = copy.range
                        let framed = try vault.store.get(StoreKey.pack(copy.packName), range)
                        if let domain, derivers[copy.secretNumber] == nil {
                            // A root of one domain may name what was stored in the vault's.
                            derivers[copy.secretNumber] = Set([domain, DomainSecret.vaultDomain])
                                .sorted { a, _ in a == domain }.map { self.deriver($0, copy.secretNumber) }
                        }
                        stack += try framed.withUnsafeBytes {
                            try LocalVault.check($0, is: copy)
                            isIntact = true
                            return try children(of: copy, $0, key, derivers[copy.secretNumber] ?? [])
                        }
                        bytes += UInt64(copy.framedLength)
                        openedPacks.insert(copy.pack)
                        reached.insert(copy.id)
                        guard domain != nil else {
                            opened.insert(copy.reference)
                            continue
                        }
                        checked.append(copy.reference)
                        if copy.condition.isBad {
                            // What it names may still be lost: that is looked at next.
                            try vault.catalog.setCondition(
                                copy.referenceCount > 0 ? .incomplete : .whole, of: [copy.reference])
                        }
                    } catch let error as HoldfastError where error.code == .damaged || error.code == .io {
                        // A sector that cannot be read is damage like any other: a dying disk is when the whole list counts.
                        if copy.type != .data { failed.insert(copy.id) }
                        foundBlobs += try vault.catalog.setCondition(
                            isIntact ? .falseContents : .damaged, of: [copy.reference])
                    } catch let error as HoldfastError where error.code == .notFound {
                        // A collection has moved it meanwhile; the next run checks it where it is then.
                        if copy.type != .data { failed.insert(copy.id) }
                    }
                }
            }
            if !failed.isSubset(of: reached) { hasUnreadNodes = true }
            try vault.catalog.setChecked(checked, at: time)
            checkedBlobs += checked.count
            checkedBytes += bytes
            try request.progress(bytes, total)
        }
        return true
    }

    /// Opens a copy, compares it with its content key and its references with what it names. Answers the keys it names.
    ///
    /// - Parameter derivers: one of them must make the key of the contents; none: that is not compared.
    private func children(
        of copy: BlobCopy, _ framed: UnsafeRawBufferPointer, _ key: ContentKey, _ derivers: [BlobKeyDeriver]
    ) throws -> [ContentKey] {
        let names = try BlobFrame(framed).references(in: framed)
        return try opener.open(framed, key: key, expecting: copy.type) { plain in
            guard derivers.isEmpty || derivers.contains(where: { $0.contentKey(copy.type, plain) == key }) else {
                throw HoldfastError(.damaged, "a blob is not what its content key says")
            }
            let children = try DataWalk.table(of: plain, type: copy.type)
            guard Set(children.map { BlobCrypto.id(of: $0) }).sorted() == names else {
                throw HoldfastError(.damaged, "a blob names other blobs than its contents do")
            }
            return children
        }
    }

    /// The table of content keys with which nodes, lists and deltas begin.
    static func table(of plain: UnsafeRawBufferPointer, type: BlobType) throws -> [ContentKey] {
        if type == .data { return [] }
        var reader = ByteReader(plain)
        _ = try reader.u8()
        if type != .delta { _ = try reader.u8() }
        let count = try reader.varint(atMost: min(FormatLimits.references, reader.remaining / 32))
        return try (0..<count).map { _ in ContentKey(try reader.digest()) }
    }
}

/// Finds the paths of a point that damage touches. Reads only what lies above the damage.
struct DamagedPathFinder {
    private static let limit = 10_000

    let vault: LocalVault
    private(set) var paths: Set<TreePath> = []
    private(set) var isFull = false
    private let opener = BlobOpener()

    init(vault: LocalVault) { self.vault = vault }

    mutating func search(_ id: PointID, keys: VaultKeys) throws {
        let record: PointRecord
        do { record = try vault.openRecord(of: id, keys) } catch {
            // Without the record nothing of the point can be reached.
            paths.insert(.root)
            return
        }
        try searchNode(record.root, firstKey: [], depth: 0)
        for delta in record.deltas where try !isWhole(delta) {
            guard let plain = open(delta, .delta), let block = try? ItemBlock.delta(plain) else {
                paths.insert(.root)
                continue
            }
            for index in 0..<block.count where block.code(index) == DeltaCode.put.rawValue {
                try searchEntry(block.key(index), try block.entry(index))
            }
        }
    }

    private func isWhole(_ key: ContentKey) throws -> Bool {
        try vault.catalog.present([BlobCrypto.id(of: key)]) == [true]
    }

    private func open(_ key: ContentKey, _ type: BlobType) -> [UInt8]? {
        var result: [UInt8]?
        try? vault.read([BlobCrypto.id(of: key)]) { _, framed in
            result = try opener.open(framed, key: key, expecting: type) { Array($0) }
        }
        return result
    }

    private mutating func add(_ key: [UInt8]) {
        guard paths.count < DamagedPathFinder.limit else {
            isFull = true
            return
        }
        paths.insert(TreePath(key: key) ?? .root)
    }

    private mutating func searchNode(_ key: ContentKey, firstKey: [UInt8], depth: Int) throws {
        if try isWhole(key) || depth > FormatLimits.treeDepth { return }
        guard let plain = open(key, .node), let block = try? ItemBlock.node(plain) else {
            // What lay below is not known any more; it began with this path.
            add(firstKey)
            return
        }
        for index in 0..<block.count {
            if block.level > 0 {
                try searchNode(try block.child(index).key, firstKey: block.key(index), depth: depth + 1)
            } else {
                try searchEntry(block.key(index), try block.entry(index))
            }
        }
    }

    private mutating func searchEntry(_ key: [UInt8], _ entry: Entry) throws {
        var names: [ContentKey] = entry.attributesBlob.map { [$0] } ?? []
        switch entry.content {
        case .none: break
        case .extents(let extents): names += extents.compactMap(\.key)
        case .list(let root, _): names.append(root)
        }
        for name in names where try !isWhole(name) {
            add(key)
            return
        }
    }
}
