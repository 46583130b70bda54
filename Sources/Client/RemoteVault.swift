package import Model
import Platform
import Synchronization
package import Vault

/// A vault behind a server.
package final class RemoteVault: VaultService {
    package let vault: VaultID
    private let connection: ServerConnection
    private let renewal: LeaseRenewal
    private var base: String { "/api/v1/vaults/\(vault.hex)" }

    package init(_ connection: ServerConnection, vault: VaultID) {
        self.connection = connection
        self.vault = vault
        let path = "/api/v1/vaults/\(vault.hex)/leases/"
        renewal = LeaseRenewal { lease in try connection.request("PUT", path + lease.hex, seconds: 20) }
    }

    deinit { renewal.stop() }

    // MARK: Leases

    package func openLease(_ request: LeaseRequest) throws -> Lease {
        let body = try connection.request("POST", base + "/leases", body: VaultMessages.encode(request))
        let (lease, seconds) = try VaultMessages.lease(body)
        renewal.add(lease.id, seconds: seconds)
        return lease
    }

    package func closeLease(_ id: LeaseID) {
        renewal.remove(id)
        // One that the server does not hear of ends by itself.
        _ = try? connection.request("DELETE", base + "/leases/\(id.hex)", seconds: 10)
    }

    // MARK: Writing

    package func missing(_ blobs: [BlobQuestion], lease: LeaseID) throws -> [Bool] {
        guard blobs.count <= VaultLimits.missingBatch else {
            throw HoldfastError(.usage, "at most \(VaultLimits.missingBatch) blobs can be asked for at once")
        }
        let body = try connection.request(
            "POST", base + "/missing?lease=\(lease.hex)", body: VaultMessages.encode(blobs), contentType: Self.binary)
        return try VaultMessages.missing(body, count: blobs.count)
    }

    package func store(_ pack: SealedPack, lease: LeaseID) throws {
        try connection.request(
            "PUT", base + "/packs/\(pack.name.hex)?lease=\(lease.hex)", body: pack.bytes, bodyHash: pack.name.bytes,
            contentType: Self.binary, seconds: 600, isUpload: true)
    }

    package func commit(_ point: SealedPoint, lease: LeaseID) throws -> CommitReceipt {
        let locator = point.locator
        let body = try connection.request(
            "PUT", "/api/v1/machines/\(locator.machine.hex)/points/\(locator.point.hex)?lease=\(lease.hex)",
            body: point.encoded(), contentType: Self.binary)
        return try VaultMessages.receipt(body)
    }

    package func commit(_ point: SealedPoint, with packs: [SealedPack], lease: LeaseID) throws -> CommitReceipt {
        let length = packs.reduce(0) { $0 + $1.bytes.count }
        guard !packs.isEmpty, packs.count <= VaultMessages.maximumRiding, length <= VaultLimits.ridingBytes else {
            for pack in packs { try store(pack, lease: lease) }
            return try commit(point, lease: lease)
        }
        let locator = point.locator
        let body = try connection.request(
            "PUT", "/api/v1/machines/\(locator.machine.hex)/points/\(locator.point.hex)?lease=\(lease.hex)&packs=1",
            body: VaultMessages.encode(point, with: packs), contentType: Self.binary)
        return try VaultMessages.receipt(body)
    }

    private static let binary = "application/octet-stream"

    // MARK: Reading

    package func points(_ query: PointQuery) throws -> [PointSummary] {
        var target = base + "/points?"
        if let machine = query.machine { target += "machine=\(machine.hex)&" }
        if let newest = query.newest { target += "newest=\(newest)&" }
        if query.ids.isEmpty { return try pages(target) }
        var found: [PointSummary] = []
        for start in stride(from: 0, to: query.ids.count, by: 64) {
            let ids = query.ids[start..<min(start + 64, query.ids.count)]
            found += try pages(target + "ids=\(ids.map(\.hex).joined(separator: ","))&")
        }
        return found
    }

    private func pages(_ target: String) throws -> [PointSummary] {
        var found: [PointSummary] = []
        var start = 0
        while true {
            let (page, next) = try VaultMessages.page(try connection.request("GET", target + "start=\(start)"))
            found += page
            guard let next, next > start else { return found }
            start = next
        }
    }

    package func point(_ id: PointID) throws -> SealedPoint {
        let body = try connection.request("GET", base + "/points/\(id.hex)")
        let point = try body.withUnsafeBytes { try SealedPoint.decode($0) }
        guard point.locator.point == id else {
            throw HoldfastError(.damaged, "the server answered with another point than the one asked for")
        }
        return point
    }

    package func machineRecords(of machine: MachineID) throws -> [MachineRecord] {
        let body = try connection.request("GET", base + "/machines/\(machine.hex)/records")
        return try VaultMessages.records(body) { try MachineRecord.decode($0) }
    }

    package func machineRecords() throws -> [MachineID: MachineRecord] {
        let body = try connection.request("GET", base + "/records")
        let records = try VaultMessages.records(body) { try MachineRecord.decode($0) }
        return Dictionary(records.map { ($0.machine, $0) }) { $0.joined < $1.joined ? $1 : $0 }
    }

    package func redactions(of point: PointID) throws -> [RedactionRecord] {
        let body = try connection.request("GET", base + "/points/\(point.hex)/redactions")
        return try VaultMessages.records(body) { try RedactionRecord.decode($0) }
    }

    package func read(_ ids: [BlobID], _ body: (BlobID, UnsafeRawBufferPointer) throws -> Void) throws {
        var lost: [BlobID] = []
        for start in stride(from: 0, to: ids.count, by: VaultLimits.missingBatch) {
            try read(batch: Array(ids[start..<min(start + VaultLimits.missingBatch, ids.count)]), &lost, body)
        }
        guard lost.isEmpty else {
            var error = HoldfastError(.damaged, "\(lost.count) blobs cannot be read from the vault")
            error.blobs = lost
            throw error
        }
    }

    private func read(
        batch: [BlobID], _ lost: inout [BlobID], _ body: (BlobID, UnsafeRawBufferPointer) throws -> Void
    ) throws {
        var wanted = batch
        var distrusted: Set<BlobID> = []
        while !wanted.isEmpty {
            let answer = try connection.request(
                "POST", base + "/blobs/read", body: VaultMessages.encode(ids: wanted), contentType: Self.binary,
                seconds: 300)
            let asked = Set(wanted)
            var seen: Set<BlobID> = []
            try answer.withUnsafeBytes { bytes in
                try VaultMessages.forEachFrame(bytes) { id, framed in
                    guard asked.contains(id), seen.insert(id).inserted else {
                        throw HoldfastError(.damaged, "the server answered with a blob that was not asked for")
                    }
                    guard let framed else {
                        lost.append(id)
                        return
                    }
                    do { try body(id, framed) } catch let error as HoldfastError where error.code == .damaged {
                        distrusted.insert(id)
                    }
                }
            }
            guard !seen.isEmpty else {
                throw HoldfastError(.io, "the server answered with none of the blobs asked for", isTemporary: true)
            }
            wanted.removeAll { seen.contains($0) }
        }
        for id in batch where distrusted.contains(id) { try readOther(id, &lost, body) }
    }

    /// A copy that does not open may be one of several: the server is told and asked for the next.
    private func readOther(
        _ id: BlobID, _ lost: inout [BlobID], _ body: (BlobID, UnsafeRawBufferPointer) throws -> Void
    ) throws {
        for copy in 1...8 {
            let answer = try connection.request(
                "POST", base + "/blobs/read?copy=\(copy)", body: VaultMessages.encode(ids: [id]),
                contentType: Self.binary, seconds: 300)
            var isGood: Bool?
            try answer.withUnsafeBytes { bytes in
                try VaultMessages.forEachFrame(bytes) { found, framed in
                    guard found == id, let framed else { return }
                    do {
                        try body(id, framed)
                        isGood = true
                    } catch let error as HoldfastError where error.code == .damaged { isGood = false }
                }
            }
            if isGood == true { return }
            if isGood == nil { break }
        }
        lost.append(id)
    }
}
