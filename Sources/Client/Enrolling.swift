package import Model
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
    package static func enrol(
        address: ServerAddress, code: EnrolmentCode, machine: MachineID, name: String, key: SigningKey = .random(),
        signing: SigningKey = .random()
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
        let grant = try EnrolmentGrant.decode(
            try connection.request("POST", "/api/v1/enroll", body: request.encoded()))
        guard grant.machine == machine, grant.vault == description.vault else {
            throw HoldfastError(.damaged, "The server answered the enrolment of another machine.")
        }
        return EnrolledMachine(
            credentials: ServerCredentials(
                address: address, server: description.server, serverKey: description.key, vault: grant.vault,
                machine: machine, key: key),
            secrets: grant.secrets(signing: signing, location: address.description), isWaiting: grant.isWaiting)
    }
}
