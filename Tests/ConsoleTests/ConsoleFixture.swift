import Client
import Foundation
import Model
import Platform
import Synchronization
import TestSupport
import Testing
import Vault

@testable import Catalog
@testable import Console
@testable import Server

/// A server with its console, asked without sockets.
final class ConsoleFixture {
    let vault: VaultFixture
    let local: LocalVault
    let core: ServerCore
    let site: Site
    let clock = Clock()
    private let directory: String

    final class Clock: Sendable {
        private let time = Mutex(Timestamp(seconds: 1_795_000_000))
        var now: Timestamp { time.withLock { $0 } }
        func advance(seconds: Int64) { time.withLock { $0 = $0.advanced(by: seconds * 1_000_000_000) } }
    }

    init() throws {
        vault = try VaultFixture()
        local = try vault.open { $0.access = .change }
        directory = NSTemporaryDirectory() + "holdfast-console-\(UUID().uuidString)"
        let state = try ServerState(path: Array(directory.utf8))
        let clock = clock
        core = ServerCore(
            identity: state.identity, vault: local, keys: vault.keys,
            catalog: try SQLiteServerCatalog(path: state.database), ownCertificate: nil, clock: { clock.now })
        try core.begin()
        site = Site(core)
    }

    deinit { try? FileManager.default.removeItem(atPath: directory) }

    // MARK: What there is

    static let password = "four words and more"

    /// An account that has set its password.
    @discardableResult
    func account(
        _ name: String, _ role: Account.Role, groups: [String] = [], places: [Account.Place] = []
    ) throws -> Account {
        let made = try core.accounts.create(
            name: name, role: role, groups: groups, places: places, by: "test", from: "")
        return try core.accounts.setPassword(link: made.1.text, Self.password, address: "")
    }

    /// A machine with points that have these names, oldest first; `protected` has the paths of each, else the whole machine.
    func machine(
        _ name: String, group: String = "default", _ points: [[TestName]] = [], protected: [[String]?] = []
    ) throws -> (machine: ManagedMachine, points: [PointID]) {
        let joined = try vault.join(local, name: name)
        let machine = ManagedMachine(
            id: joined.id, name: name, formerNames: [], group: group, key: SigningKey.random().verifyingKey,
            enrolled: clock.now, lastSeen: clock.now)
        try core.catalog.add(machine)
        let writer = try TestWriter(local, joined)
        var ids: [PointID] = []
        for (index, names) in points.enumerated() {
            let time = Timestamp(seconds: 1_700_010_000 + Int64(index) * 60)
            ids.append(
                try writer.backup(
                    names, time: time, protected: protected.indices.contains(index) ? protected[index] : nil))
        }
        writer.close()
        return (machine, ids)
    }

    /// Takes lines off the end of the audit log, as somebody with the database does.
    func forgetAudit(after number: Int64) throws {
        let catalog = try #require(core.catalog as? SQLiteServerCatalog)
        _ = try catalog.write { try $0.run("DELETE FROM audit WHERE number > $1", .integer(number)) }
    }

    // MARK: Browsers

    /// Signs in and answers the cookie.
    func signIn(_ name: String, password: String = ConsoleFixture.password, code: String? = nil) throws -> String {
        guard
            case .done(let secret, _) = try core.accounts.signIn(
                name: name, password: password, code: code, address: "192.0.2.1", browser: "test")
        else { throw HoldfastError(.keyNeeded, "a code is needed") }
        return secret.text
    }

    func formToken(_ cookie: String) throws -> String { try core.accounts.visitor(cookie)?.formToken ?? "" }

    func get(_ target: String, _ cookie: String? = nil) throws -> ServerAnswer { try page("GET", target, cookie, "") }

    /// Sends a form; `form` is the session's own token unless another one is given.
    func post(
        _ target: String, _ cookie: String?, _ fields: [(String, String)] = [], form: String? = nil,
        from fetchSite: String? = "same-origin"
    ) throws -> ServerAnswer {
        let token = try form ?? cookie.map { try formToken($0) } ?? ""
        let body = ([("form", token)] + fields).map { "\($0.0)=\(Address.encode($0.1))" }.joined(separator: "&")
        return try page("POST", target, cookie, body, from: fetchSite)
    }

    private func page(
        _ method: String, _ target: String, _ cookie: String?, _ body: String, from fetchSite: String? = nil
    ) throws -> ServerAnswer {
        try send(site.operations, method, target, .anonymous, Array(body.utf8)) { request in
            request.cookies = cookie.map { "\(Site.cookieName)=\($0)" } ?? ""
            request.fetchSite = fetchSite
        }
    }

    // MARK: Programs

    /// A token of an account with all of its rights, or some.
    func token(_ account: Account, _ rights: Set<AccountRight>? = nil, days: Int64 = 1, name: String = "test") throws
        -> String
    {
        let made = try core.accounts.makeToken(
            of: account.id, name: name, rights: rights ?? account.role.rights, seconds: days * 86_400, by: nil,
            who: "test", from: "")
        return AccessCode(token: made.secret, serverKey: core.identity.key.verifyingKey).text
    }

    /// Asks the API. What is refused comes as an answer with the problem's status.
    func api(_ method: String, _ target: String, _ token: String?, _ body: JSONValue? = nil) throws -> ServerAnswer {
        do {
            let principal =
                try token.map {
                    try core.signIn(authorization: "Bearer \($0)", method: method, target: target, address: "192.0.2.7")
                        .principal
                } ?? .anonymous
            return try send(Server.Operation.all, method, target, principal, body?.encoded() ?? [], isChecked: true)
        } catch let error as HoldfastError {
            return ServerAnswer(status: Problem.status(of: error), body: Array(error.message.utf8))
        }
    }

    func json(_ method: String, _ target: String, _ token: String?, _ body: JSONValue? = nil) throws -> [String: Any] {
        let answer = try api(method, target, token, body)
        let text = String(decoding: answer.body, as: UTF8.self)
        guard (200..<300).contains(answer.status) else { throw HoldfastError(.denied, "\(answer.status): \(text)") }
        return try JSONSerialization.jsonObject(with: Data(answer.body)) as? [String: Any] ?? [:]
    }

    // MARK: Finding the operation

    private func send(
        _ operations: [Server.Operation], _ method: String, _ target: String, _ principal: Principal, _ body: [UInt8],
        isChecked: Bool = false, _ change: (inout ServerRequest) -> Void = { _ in }
    ) throws -> ServerAnswer {
        let path = String(target.prefix { $0 != "?" })
        var found: (operation: Server.Operation, parameters: [String: String])?
        for operation in operations where operation.method == method {
            guard let parameters = Self.match(path, operation.path) else { continue }
            // What is written out comes before what is a place for a value.
            if found == nil || parameters.isEmpty { found = (operation, parameters) }
        }
        guard let found else { throw HoldfastError(.notFound, "no operation: \(method) \(path)") }
        if isChecked { try found.operation.access.require(principal) }
        var query: [String: String] = [:]
        for pair in target.drop(while: { $0 != "?" }).dropFirst().split(separator: "&") {
            let parts = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            query[parts[0]] = parts.count > 1 ? parts[1] : ""
        }
        var request = ServerRequest(
            method: method, path: path, parameters: found.parameters, query: query, body: body, principal: principal)
        request.target = target
        request.address = "192.0.2.9"
        request.host = "backup.example:7443"
        change(&request)
        return try found.operation.run(core, request)
    }

    static func match(_ path: String, _ pattern: String) -> [String: String]? {
        let (parts, places) = (path.split(separator: "/"), pattern.split(separator: "/"))
        guard parts.count == places.count else { return nil }
        var found: [String: String] = [:]
        for (part, place) in zip(parts, places) {
            if place.hasPrefix("{") {
                found[String(place.dropFirst().dropLast())] = String(part)
            } else if part != place {
                return nil
            }
        }
        return found
    }
}

extension ServerAnswer {
    var text: String { String(decoding: body, as: UTF8.self) }
    func header(_ name: String) -> String? { headers.first { $0.0 == name }?.1 }

    /// The body, also of one that is made while it is sent.
    func whole() throws -> [UInt8] {
        guard let stream else { return body }
        let bytes = Mutex<[UInt8]>([])
        try stream.body { part in bytes.withLock { $0 += Array(part) } }
        return bytes.withLock { $0 }
    }
}
