import Client
import Model
import Server
import TestSupport
import Testing
import Vault

@Suite("What a machine must not do", .serialized)
struct ForeignDataTests {
    private func code(_ body: () throws -> Void) -> HoldfastError.Code? {
        do { try body() } catch let error as HoldfastError { return error.code } catch { return nil }
        return nil
    }

    @Test("packs that are damaged, of another vault or another machine are refused, and nothing of them is kept")
    func packs() async throws {
        let server = try await ServerFixture.start()
        let elsewhere = try VaultFixture()
        try await ServerFixture.blocking {
            let machine = try server.enrol("one"), other = try server.enrol("two")
            let remote = RemoteVault(ServerConnection(machine.credentials), vault: server.core.vaultID)
            let writer = try TestWriter(remote, TestMachine(id: machine.credentials.machine, secrets: machine.secrets))
            let data = writer.make.data("mine")
            let good = try writer.make.pack([data])

            let stranger = TestBlobMaker(other.secrets)
            #expect(code { try remote.store(try stranger.pack([data]), lease: writer.lease.id) } == .denied)
            let foreign = try elsewhere.join(try elsewhere.open())
            let away = try TestBlobMaker(foreign.secrets).pack([TestBlobMaker(foreign.secrets).data("x")])
            #expect(code { try remote.store(away, lease: writer.lease.id) } != nil)

            let client = try RawClient(server)
            var bytes = good.bytes
            bytes[bytes.count / 2] ^= 1
            for name in [good.name.hex, bytes.withUnsafeBytes { Hex.encode(BlobCrypto.sha256($0).array) }] {
                let target = "/api/v1/vaults/\(server.core.vaultID.hex)/packs/\(name)?lease=\(writer.lease.id.hex)"
                let exchange = try client.send("PUT", target, bytes, as: .signed(.init(machine)))
                // A seal is not opened here: damage inside it is found by verification and by readers.
                #expect(exchange.status == 422 || exchange.status == 204, "\(exchange.status)")
            }
            #expect(try server.vault.packs().allSatisfy { $0 != away.name })
        }
    }

    @Test("a machine neither reads, writes nor learns of another's points")
    func points() async throws {
        let server = try await ServerFixture.start()
        try await ServerFixture.blocking {
            let machine = try server.enrol("one"), other = try server.enrol("two")
            let own = RemoteVault(ServerConnection(machine.credentials), vault: server.core.vaultID)
            let theirs = RemoteVault(ServerConnection(other.credentials), vault: server.core.vaultID)
            let writer = try TestWriter(own, TestMachine(id: machine.credentials.machine, secrets: machine.secrets))
            let point = try writer.backup(["private"]).point
            let nowhere = PointID.random()

            #expect(try theirs.points(PointQuery()).isEmpty)
            #expect(try theirs.points(PointQuery(machine: machine.credentials.machine)).isEmpty)
            #expect(try theirs.points(PointQuery(ids: [point])).isEmpty)
            for id in [point, nowhere] {
                #expect(code { _ = try theirs.point(id) } == .notFound)
                #expect(code { _ = try theirs.openLease(.reader([id])) } == .notFound)
                #expect(code { _ = try theirs.redactions(of: id) } == .notFound)
            }
            #expect(code { _ = try theirs.machineRecords(of: machine.credentials.machine) } == .denied)
            #expect(try theirs.machineRecords().keys.elementsEqual([other.credentials.machine]))
            #expect(code { _ = try theirs.openLease(.writer(machine: machine.credentials.machine)) } == .denied)
            let grants = PointGrants(ServerConnection(other.credentials), secrets: other.secrets)
            #expect(code { _ = try grants.recordKey(of: try own.point(point).wrap, in: point) } == .notFound)

            // Under its own lease, in the other's name.
            let lease = try theirs.openLease(.writer(machine: other.credentials.machine))
            let root = writer.make.data("private")
            let sealed = try writer.point(root: root)
            #expect(code { _ = try theirs.commit(sealed, lease: lease.id) } == .denied)
            #expect(code { _ = try theirs.missing([root.id], lease: writer.lease.id) } == .leaseLost)
            theirs.closeLease(writer.lease.id)
            #expect(try own.missing([BlobQuestion(id: root.id)], lease: writer.lease.id) == [false], "still its own")
        }
    }

    @Test("a machine is not told the key of another's point by putting its wrap into a point of its own")
    func foreignWrap() async throws {
        let server = try await ServerFixture.start()
        try await ServerFixture.blocking {
            let machine = try server.enrol("one"), other = try server.enrol("two")
            func writer(_ machine: EnrolledMachine) throws -> TestWriter {
                try TestWriter(
                    RemoteVault(ServerConnection(machine.credentials), vault: server.core.vaultID),
                    TestMachine(id: machine.credentials.machine, secrets: machine.secrets))
            }
            let victim = try writer(other), thief = try writer(machine)
            let theirs = try server.core.vault.point(try victim.backup(["private"]).point)
            let root = thief.make.node("root", [])
            try thief.store([root])
            // The wrap is under no signature: whoever has a copy of the packs exchanges it.
            let own = try thief.point(root: root)
            var bytes = own.encoded()
            let place = try #require(bytes.firstRange(of: own.wrap))
            bytes.replaceSubrange(place, with: theirs.wrap)
            let mixed = try bytes.withUnsafeBytes { try SealedPoint.decode($0) }
            #expect(mixed.wrap == theirs.wrap)
            try thief.commit(mixed)
            let grants = PointGrants(ServerConnection(machine.credentials), secrets: machine.secrets)
            #expect(code { _ = try grants.recordKey(of: theirs.wrap, in: mixed.locator.point) } == .damaged)
            // A point with its own wrap is granted.
            let good = try thief.point(root: root)
            try thief.commit(good)
            let key = try grants.recordKey(of: good.wrap, in: good.locator.point)
            _ = try good.open(with: key)
        }
    }

    @Test("a point whose blobs are missing is refused with their list, and taken when they were sent")
    func missingBlobs() async throws {
        let server = try await ServerFixture.start()
        try await ServerFixture.blocking {
            let machine = try server.enrol()
            let remote = RemoteVault(ServerConnection(machine.credentials), vault: server.core.vaultID)
            let writer = try TestWriter(remote, TestMachine(id: machine.credentials.machine, secrets: machine.secrets))
            let root = writer.make.node("root", [])
            let point = try writer.point(root: root)
            let error = #expect(throws: HoldfastError.self) { try writer.commit(point) }
            #expect(error?.code == .missingBlobs && error?.blobs == [root.id])
            try writer.store([root])
            try writer.commit(point)
            #expect(try writer.commit(point).point == point.locator.point, "once more is fine")
        }
    }

    @Test("a machine cannot hold leases without end")
    func leases() async throws {
        let server = try await ServerFixture.start()
        try await ServerFixture.blocking {
            let machine = try server.enrol()
            let connection = ServerConnection(machine.credentials, patience: .init(attempts: 1, longestPause: 0))
            let remote = RemoteVault(connection, vault: server.core.vaultID)
            var last: HoldfastError.Code?
            for _ in 0..<80 where last == nil { last = code { _ = try remote.openLease(.reader()) } }
            #expect(last == .busy)
        }
    }
}
