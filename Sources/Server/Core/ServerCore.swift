package import Catalog
import Client
package import Model
import Platform
package import Vault

/// The server without its sockets: who may do what, and what is then done. Calls block; the HTTP layer makes them on threads
/// of its own.
package final class ServerCore: Sendable {
    package let identity: ServerIdentity
    package let vault: LocalVault
    /// The vault's keys; `nil` in an owner-only vault, which this server cannot open.
    package let keys: VaultKeys?
    package let catalog: any ServerCatalog
    /// The certificate (PEM) that this server shows; `nil` when one of a certificate authority was given.
    package let ownCertificate: String?
    let leases: LeaseKeeper
    let clock: @Sendable () -> Timestamp

    package static let version = "0.1.0"

    package init(
        identity: ServerIdentity, vault: LocalVault, keys: VaultKeys?, catalog: any ServerCatalog,
        ownCertificate: String?, leaseSeconds: Int = 600,
        clock: @escaping @Sendable () -> Timestamp = { Timestamp(nanoseconds: SystemClock.wall) }
    ) {
        self.identity = identity
        self.vault = vault
        self.keys = keys
        self.catalog = catalog
        self.ownCertificate = ownCertificate
        self.clock = clock
        leases = LeaseKeeper(seconds: leaseSeconds) { vault.closeLease($0) }
        if let keys {
            let domain = keys.domainSecret(domain: DomainSecret.vaultDomain, number: 1)
            vault.trust(domain)
        }
    }

    /// What this server says of itself.
    var description: ServerDescription {
        ServerDescription(
            server: identity.id, key: identity.key.verifyingKey, version: Self.version, certificate: ownCertificate,
            vault: vault.vault, time: clock().seconds)
    }

    /// Ends every lease: nothing is collected that a writer relied on before it knows.
    package func stop() { leases.endAll() }

    // MARK: Who asks

    /// Finds out who a request is from.
    ///
    /// - Parameters:
    ///   - authorization: the header of that name.
    ///   - target: path and query as they were sent.
    ///   - body: its hash.
    /// - Returns: the principal, and for a signed request the nonce in the signature.
    /// - Throws: `denied` for a signature or token that does not hold, `clockUnknown` for a time that is not this server's.
    func principal(
        authorization: String?, method: String, target: String, body: Bytes32
    ) throws -> (Principal, RequestNonce?) {
        guard let authorization else { return (.anonymous, nil) }
        let refused = HoldfastError(.denied, "the server does not accept this signature or token")
        guard authorization.utf8.count < 8_192, authorization.hasPrefix("Bearer ") else { throw refused }
        let text = String(authorization.dropFirst("Bearer ".count))
        if let unverified = RequestToken.parse(text) {
            let token = unverified.token
            guard token.server == identity.id, token.method == method, token.target == target, token.body == body,
                let machine = try catalog.machine(token.machine), machine.state == .active
            else { throw refused }
            try check(unverified, of: machine)
            guard token.isTimely(at: clock().seconds) else {
                throw HoldfastError(
                    .clockUnknown, "the request is signed for another time than this server's", isTemporary: true)
            }
            return (.machine(machine.id), token.nonce)
        }
        guard let hash = SecretToken.hash(text), let token = try catalog.token(hash: hash), token.isValid(at: clock())
        else { throw refused }
        switch token.role {
        case .enrolment: throw refused
        case .administrator: return (.person(role: .administrator, name: token.name), nil)
        case .reader: return (.person(role: .reader, name: token.name), nil)
        case .viewer: return (.person(role: .viewer, name: token.name), nil)
        }
    }

    private func check(_ unverified: RequestToken.Unverified, of machine: ManagedMachine) throws {
        if unverified.verified(with: machine.key) != nil {
            // The new key is in use: the one before opens nothing any more.
            if machine.previousKey != nil {
                var changed = machine
                changed.previousKey = nil
                try catalog.update(changed)
            }
            return
        }
        if let previous = machine.previousKey, unverified.verified(with: previous) != nil { return }
        throw HoldfastError(.denied, "the server does not accept this signature or token")
    }

    // MARK: Who may

    /// Throws `denied` unless the request comes from `machine` itself or from a person with at least this role.
    func require(_ request: ServerRequest, machine: MachineID?, or role: AccessRole = .administrator) throws {
        switch request.principal {
        case .machine(let id) where id == machine: return
        case .person(let held, _) where held >= role: return
        default:
            // The same whether the thing exists or not.
            throw HoldfastError(.denied, "this is not for you to see or do")
        }
    }

    /// Throws `denied` unless the request is about this server's vault.
    func requireVault(_ request: ServerRequest) throws {
        guard try request.id("vault", as: VaultID.self) == vault.vault else {
            throw HoldfastError(.notFound, "this server has no such vault")
        }
    }
}

extension AccessToken {
    /// Whether it still holds.
    func isValid(at now: Timestamp) -> Bool { (expires.map { now < $0 } ?? true) && (uses.map { $0 > 0 } ?? true) }
}
