import Foundation
package import Model
import Vault

/// Policies through a server.
package final class RemotePolicies: PolicyAdministration {
    private let connection: ServerConnection
    /// The server's key: what it signs for machines is checked here, too.
    private let key: VerifyingKey

    package init(_ connection: ServerConnection) {
        self.connection = connection
        key = connection.key
    }

    /// A name as a part of a path.
    private static func escaped(_ name: String) -> String {
        name.addingPercentEncoding(withAllowedCharacters: .alphanumerics.intersection(.asciiOnly)) ?? ""
    }

    private func target(_ policy: String) -> String { "/api/v1/policies/\(Self.escaped(policy))" }

    package func policies() throws -> [PolicyListing] {
        try PolicyMessages.policies(try connection.request("GET", "/api/v1/policies"))
    }

    package func policy(_ name: String, revision: Int64?) throws -> PolicyText {
        try PolicyMessages.policy(
            try connection.request("GET", target(name) + (revision.map { "?revision=\($0)" } ?? "")))
    }

    package func revisions(of name: String) throws -> [PolicyRevision] {
        try PolicyMessages.revisions(try connection.request("GET", target(name) + "/revisions"))
    }

    package func put(_ text: String, file: String) throws -> PolicyRevision {
        try PolicyMessages.revision(
            try connection.request("POST", "/api/v1/policies", body: PolicyMessages.encode(putting: text, file: file)))
    }

    package func remove(_ name: String) throws { try connection.request("DELETE", target(name)) }

    package func assign(_ policy: String?, toGroup group: String) throws {
        try connection.request(
            "PUT", "/api/v1/groups/\(Self.escaped(group))/policy", body: PolicyMessages.encode(assigning: policy))
    }

    package func machines() throws -> [PolicySubject] {
        try PolicyMessages.machines(try connection.request("GET", "/api/v1/placements"))
    }

    package func place(_ machine: MachineID, _ change: PlacementChange) throws {
        try connection.request(
            "PUT", "/api/v1/machines/\(machine.hex)/placement", body: PolicyMessages.encode(change))
    }

    package func document(of machine: MachineID) throws -> PolicyDocument {
        let body = try connection.request("GET", "/api/v1/machines/\(machine.hex)/policy")
        return try SignedPolicy.decode(body).open(key, machine: machine)
    }

    package func backUpNow(_ machine: MachineID) throws {
        try connection.request(
            "POST", "/api/v1/machines/\(machine.hex)/commands",
            body: JSONValue.object(["kind": .string(MachineOrders.backUpNow)]).encoded())
    }

    package func changes() throws -> [PolicyChangeLine] {
        try PolicyMessages.changes(try connection.request("GET", "/api/v1/policy-changes"))
    }
}

extension CharacterSet {
    fileprivate static let asciiOnly = CharacterSet(charactersIn: Unicode.Scalar(0x21)...Unicode.Scalar(0x7E))
}

/// The server as a machine that is governed by it sees it.
package final class ServerOrders: Sendable {
    private let connection: ServerConnection
    private let machine: MachineID
    private let key: VerifyingKey

    /// - Parameter connection: one of its own, that does not try again by itself: whoever asks goes on asking.
    package init(_ connection: ServerConnection, machine: MachineID) {
        self.connection = connection
        self.machine = machine
        key = connection.key
    }

    /// The machine's policies, with the server's signature.
    ///
    /// - Parameter zone: the IANA name of this machine's zone, which the server counts days of retention in.
    package func policy(zone: String) throws -> SignedPolicy {
        let name = zone.addingPercentEncoding(withAllowedCharacters: .alphanumerics.intersection(.asciiOnly)) ?? ""
        let body = try connection.request("GET", "/api/v1/machines/\(machine.hex)/policy?zone=\(name)", seconds: 30)
        let signed = try SignedPolicy.decode(body)
        _ = try signed.open(key, machine: machine)
        return signed
    }

    /// What the server wants. Returns at once when that is something new, and else after `wait` seconds.
    ///
    /// - Parameters:
    ///   - policy: the revision that the machine knows.
    ///   - done: commands that it has heard of; the server forgets them.
    ///   - restores: the digest of the restores that it knows of; empty for none, `nil` when it does none.
    package func orders(
        policy: Bytes32?, done: [RequestNonce], restores: String?, wait: Int
    ) throws -> MachineOrders {
        var target = "/api/v1/machines/\(machine.hex)/commands?wait=\(wait)"
        if let policy { target += "&policy=\(Hex.encode(policy.array))" }
        if let restores { target += "&restores=\(restores.isEmpty ? "none" : restores)" }
        if !done.isEmpty { target += "&done=\(done.map(\.hex).joined(separator: ","))" }
        return try MachineOrders.decode(try connection.request("GET", target, seconds: wait + 20))
    }
}
