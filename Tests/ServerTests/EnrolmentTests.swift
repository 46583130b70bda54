import Catalog
import Client
import Foundation
import Model
import Platform
import TestSupport
import Testing
import Vault

@testable import Server

@Suite("Enrolment", .serialized)
struct EnrolmentTests {
    @Test("of several machines that use a code for one at the same instant, one gets in")
    func tokenUsedTwice() async throws {
        let server = try await ServerFixture.start()
        try server.core.catalog.set(ServerCore.sheetSetting, [1])
        let code = try server.core.makeEnrolmentCode(name: "once")
        let outcomes = try await withThrowingTaskGroup(of: Bool.self) { group in
            for _ in 0..<6 {
                group.addTask {
                    try await ServerFixture.blocking {
                        do {
                            _ = try server.enrol(code: code)
                            return true
                        } catch let error as HoldfastError where error.code == .denied {
                            return false
                        }
                    }
                }
            }
            return try await group.reduce(into: [Bool]()) { $0.append($1) }
        }
        #expect(outcomes.count { $0 } == 1 && outcomes.count == 6)
        #expect(try server.core.catalog.machines().count == 1)
        #expect(try server.core.catalog.token(hash: code.token.hash)?.uses == 0)
    }

    @Test("coming again with the same key answers the same, and takes no further use of the code")
    func again() async throws {
        let server = try await ServerFixture.start()
        try await ServerFixture.blocking {
            let code = try server.core.makeEnrolmentCode(name: "once")
            let (id, key) = (MachineID.random(), SigningKey.random())
            let first = try server.enrol(id: id, code: code, key: key)
            let second = try server.enrol(id: id, code: code, key: key)
            #expect(first.secrets.domainSecret.secret == second.secrets.domainSecret.secret)
            #expect(throws: HoldfastError.self) { try server.enrol(code: code) }
        }
    }

    @Test("two machines with one id: the one that is known goes on; the other waits for a person")
    func cloned() async throws {
        let server = try await ServerFixture.start()
        try await ServerFixture.blocking {
            let original = try server.enrol("original")
            let id = original.credentials.machine
            func works(_ machine: EnrolledMachine) -> Bool {
                (try? RemoteVault(
                    ServerConnection(machine.credentials, patience: .init(attempts: 1, longestPause: 0)),
                    vault: server.core.vaultID
                ).points(.init())) != nil
            }
            let clone = try server.enrol("clone", id: id)
            #expect(clone.isWaiting)
            #expect(works(original) && !works(clone), "nobody is let in and nobody shut out by an id alone")
            try server.core.refuse(id)
            #expect(works(original) && !works(clone))
            #expect(throws: HoldfastError.self) { try server.core.refuse(id) }

            let reinstalled = try server.enrol("reinstalled", id: id)
            #expect(reinstalled.isWaiting && works(original))
            try server.core.approve(id)
            #expect(works(reinstalled) && !works(original))
            #expect(throws: HoldfastError.self) { try server.core.approve(id) }

            // It writes under the history of its id, with the key that it came with.
            let writer = try TestWriter(
                RemoteVault(ServerConnection(reinstalled.credentials), vault: server.core.vaultID),
                TestMachine(id: id, secrets: reinstalled.secrets))
            try writer.backup(["after a new installation"])
        }
    }

    @Test("a machine that the vault knows and the server does not waits for a person, whatever keys it names")
    func knownToTheVault() async throws {
        let server = try await ServerFixture.start()
        try await ServerFixture.blocking {
            let core = server.core
            let vault = try core.vault
            let direct = try server.vault.join(vault, name: "direct")
            let writer = try TestWriter(vault, direct)
            let points = try (0..<3).map { try writer.backup(["private \($0)"]).point }
            writer.close()
            func sees(_ machine: EnrolledMachine) -> Bool {
                (try? RemoteVault(
                    ServerConnection(machine.credentials, patience: .init(attempts: 1, longestPause: 0)),
                    vault: core.vaultID
                ).points(.init()).map(\.id)) == points
            }
            // The key that signs its points is no secret: whoever lists machines reads it.
            for signing in [SigningKey.random(), direct.secrets.signing] {
                let stranger = try Enrolling.enrol(
                    address: server.address, code: try core.makeEnrolmentCode(name: "x"), machine: direct.id,
                    name: "stranger", signing: signing)
                #expect(stranger.isWaiting && !sees(stranger))
                #expect(try core.catalog.machine(direct.id)?.name == "direct", "people see whose history it is")
                // Nobody takes the place of the one that people look at.
                let second = #expect(throws: HoldfastError.self) { try server.enrol("second", id: direct.id) }
                #expect(second?.code == .busy)
                // It is nobody's to retire: its history would fall to the rules.
                #expect(throws: HoldfastError.self) { try core.retire(direct.id) }
                try core.refuse(direct.id)
                #expect(!sees(stranger))
                #expect(try core.catalog.machine(direct.id) == nil)
                #expect(throws: HoldfastError.self) { try core.approve(direct.id) }
            }

            // Nobody's rules hold for it meanwhile.
            let book = RemotePolicies(try server.administrator())
            _ = try book.put("name: short\nretention: {default: !override {last: 1}}\n", file: "x")
            try book.assign("short", toGroup: "default")
            #expect(try server.administration().applyRetention(isPlan: true).machines.isEmpty)

            let owner = try server.enrol("again", id: direct.id)
            #expect(owner.isWaiting && !sees(owner))
            try core.lookForAlerts(all: false)
            #expect(try core.catalog.alerts(resolved: 0).contains { $0.kind == "waiting" && $0.machine == direct.id })
            try core.approve(direct.id)
            #expect(sees(owner))
        }
    }

    @Test("nobody enrols as the server itself, which keeps its keys in the vault")
    func serversOwn() async throws {
        let server = try await ServerFixture.start()
        try await ServerFixture.blocking {
            let own = try server.vault.join(try server.core.vault, name: ServerCore.ownPrefix + "host")
            let code = try server.core.makeEnrolmentCode(name: "x")
            let error = #expect(throws: HoldfastError.self) { try server.enrol("x", id: own.id, code: code) }
            #expect(error?.code == .denied)
            #expect(try server.core.catalog.machine(own.id) == nil)
            #expect(try !server.enrol("x", code: code).isWaiting, "the code was not used up")
        }
    }

    @Test("while the vault cannot read whose an id is, nobody is let in with it", arguments: [true, false])
    func unreadable(isServer: Bool) async throws {
        let server = try await ServerFixture.start()
        try await ServerFixture.blocking {
            let vault = try server.core.vault
            let packs = { try vault.catalog.records(of: .machine).map(\.packName) }
            let before = Set(try packs())
            let known = try server.vault.join(vault, name: (isServer ? ServerCore.ownPrefix : "") + "host")
            let code = try server.core.makeEnrolmentCode(name: "x")
            let pack = try #require(try packs().first { !before.contains($0) })
            let file = URL(fileURLWithPath: server.vault.path + "/" + StoreKey.pack(pack))
            let aside = file.appendingPathExtension("aside")
            // As when a disk does not answer for a while.
            try FileManager.default.moveItem(at: file, to: aside)
            let error = #expect(throws: HoldfastError.self) { try server.enrol("x", id: known.id, code: code) }
            #expect(error?.code == .damaged && error?.context["hint"]?.contains("verify") == true)
            #expect(try server.core.catalog.machine(known.id) == nil)
            try FileManager.default.moveItem(at: aside, to: file)
            if isServer {
                #expect(throws: HoldfastError.self) { try server.enrol("x", id: known.id, code: code) }
            } else {
                #expect(try server.enrol("x", id: known.id, code: code).isWaiting)
            }
        }
    }

    @Test("a second machine enrols only after the key sheet was typed back")
    func keySheet() async throws {
        let server = try await ServerFixture.start()
        try await ServerFixture.blocking {
            func enrol() throws {
                _ = try Enrolling.enrol(
                    address: server.address, code: try server.core.makeEnrolmentCode(name: "x"), machine: .random(),
                    name: "x")
            }
            // What only waits has nothing to lose yet.
            let direct = try server.vault.join(try server.core.vault, name: "direct")
            let stranger = try Enrolling.enrol(
                address: server.address, code: try server.core.makeEnrolmentCode(name: "x"), machine: direct.id,
                name: "x")
            #expect(stranger.isWaiting)
            try enrol()
            let error = #expect(throws: HoldfastError.self) { try enrol() }
            #expect(error?.code == .forbidden && error?.context["hint"]?.contains("check-sheet") == true)
            try server.core.catalog.set(ServerCore.sheetSetting, [1])
            try enrol()
        }
    }

    @Test("a retired machine stays out, with its old key and with a new one")
    func retired() async throws {
        let server = try await ServerFixture.start()
        try await ServerFixture.blocking {
            let key = SigningKey.random()
            let machine = try server.enrol(key: key)
            let id = machine.credentials.machine
            try server.core.catalog.change(id) { $0.state = .retired }
            for key in [key, .random()] {
                let error = #expect(throws: HoldfastError.self) { try server.enrol(id: id, key: key) }
                #expect(error?.code == .denied)
            }
            let connection = ServerConnection(machine.credentials, patience: .init(attempts: 1, longestPause: 0))
            #expect(throws: HoldfastError.self) {
                try RemoteVault(connection, vault: server.core.vaultID).points(.init())
            }
        }
    }

    @Test("who tries codes is told to wait; machines of the same address that sign go on")
    func guessing() async throws {
        let server = try await ServerFixture.start()
        try await ServerFixture.blocking {
            let machine = try server.enrol()
            let client = try RawClient(server)
            var statuses: [Int] = []
            var retry: String?
            for _ in 0..<40 {
                let exchange = try client.send("GET", "/api/v1/machines", as: .token(SecretToken.random().text))
                statuses.append(exchange.status)
                retry = exchange.header("Retry-After") ?? retry
            }
            #expect(statuses.first == 403 && statuses.last == 429)
            #expect(retry.flatMap { Int($0) }.map { 1...60 ~= $0 } == true)
            #expect(try client.send("GET", "/api/v1/machines", as: .token(try server.person(.viewer))).status == 200)
            #expect(
                try RemoteVault(ServerConnection(machine.credentials), vault: server.core.vaultID).points(.init())
                    .isEmpty)
            #expect(server.log.all.contains { $0.contains("a sign-in failed") && $0.contains("127.0.0.1") })
            #expect(!server.log.all.contains { $0.contains("hft_") })
        }
    }
}
