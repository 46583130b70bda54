package import Model
import Platform
package import Vault

/// A machine after its enrolment: how it reaches the server, and what it writes to the vault with.
package struct EnrolledMachine: SecretValue {
    package var credentials: ServerCredentials
    package var secrets: WriterSecrets
    /// A person has to approve before anything can be written.
    package var isWaiting: Bool

    package init(credentials: ServerCredentials, secrets: WriterSecrets, isWaiting: Bool) {
        self.credentials = credentials
        self.secrets = secrets
        self.isWaiting = isWaiting
    }
}

/// The machine's side of an enrolment.
package enum Enrolling {
    /// Enrols with the server at `address`, which must hold the key that the code names: nobody on the way can take its
    /// place.
    ///
    /// - Parameters:
    ///   - key: signs requests. Keep it before the call: coming again with the same key answers the same.
    ///   - signing: signs points; kept likewise.
    ///   - unlock: opens an owner-only vault, here, with what its owner knows.
    package static func enrol(
        address: ServerAddress, code: EnrolmentCode, machine: MachineID, name: String, key: SigningKey = .random(),
        signing: SigningKey = .random(),
        unlock: (KeyMaterial) throws -> VaultKeys = { _ in
            throw HoldfastError(.keyNeeded, "The vault is owner-only: enrolling takes its passphrase.")
        }
    ) throws -> EnrolledMachine {
        let description = try ServerConnection.discover(address)
        guard description.key == code.serverKey else {
            throw HoldfastError(
                .untrusted,
                "\(address.description) is not the server that printed this enrolment code. Nothing was sent to it.",
                context: ["server": address.description])
        }
        let connection = ServerConnection(
            address: address, server: description.server, key: description.key, identity: .nobody)
        let request = try EnrolmentRequest(
            token: code.token, machine: machine, name: name, key: key, signing: signing.verifyingKey,
            server: description.server)
        let answer = try connection.request("POST", "/api/v1/enroll", body: request.encoded())
        if let grant = try OwnerOnlyGrant.decode(answer) {
            try check(grant.machine == machine && grant.vault == description.vault)
            let credentials = ServerCredentials(
                address: address, server: description.server, serverKey: description.key, vault: grant.vault,
                machine: machine, key: key)
            return try join(credentials, name: name, signing: signing, grant, unlock)
        }
        let grant = try EnrolmentGrant.decode(answer)
        try check(grant.machine == machine && grant.vault == description.vault)
        return EnrolledMachine(
            credentials: ServerCredentials(
                address: address, server: description.server, serverKey: description.key, vault: grant.vault,
                machine: machine, key: key),
            secrets: grant.secrets(signing: signing, location: address.description), isWaiting: grant.isWaiting)
    }

    private static func check(_ isOurs: Bool) throws {
        if !isOurs { throw HoldfastError(.damaged, "The server answered the enrolment of another machine.") }
    }

    /// Makes what this machine writes to an owner-only vault with, and registers it there: the server cannot.
    private static func join(
        _ credentials: ServerCredentials, name: String, signing: SigningKey, _ grant: OwnerOnlyGrant,
        _ unlock: (KeyMaterial) throws -> VaultKeys
    ) throws -> EnrolledMachine {
        let keys = try unlock(grant.material)
        guard keys.vault == grant.vault else {
            throw HoldfastError(.damaged, "The server answered with the key files of another vault.")
        }
        let connection = ServerConnection(credentials)
        let machine = credentials.machine
        var joined = Timestamp(nanoseconds: SystemClock.wall)
        if !grant.isWaiting {
            let known = try RemoteVault(connection, vault: grant.vault).machineRecords(of: machine)
            // Of several records the one joined last counts, whatever this machine's clock says.
            if let last = known.map(\.joined).max() { joined = max(joined, last.advanced(by: 1)) }
        }
        let (secrets, record) = try keys.enrol(
            machine: machine, name: name, location: credentials.address.description, signing: signing, joined: joined)
        if !grant.isWaiting {
            try connection.request(
                "PUT", "/api/v1/machines/\(machine.hex)/record", body: record.encoded(),
                contentType: "application/octet-stream")
        }
        return EnrolledMachine(credentials: credentials, secrets: secrets, isWaiting: grant.isWaiting)
    }
}
