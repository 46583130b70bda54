package import Catalog
package import Client
import Model
import Vault

/// How the program comes to a machine that has nothing yet. Whoever asks is told: there is no secret in any of it.
enum InstallOperations {
    static let all: [Operation] = [
        Operation(
            "GET", "/install",
            "The script that installs the agent on a machine and enrols it. To be run only after its hash was compared with "
                + "the one in the line that `holdfast server token` prints.",
            tag: "enrolment", access: .open, response: .text("script")
        ) { core, _ in
            ServerAnswer(contentType: "text/plain; charset=utf-8", body: Array((core.offer.script.text + "\n").utf8))
        },
        Operation(
            "GET", "/install/{package}",
            "One of the packages whose names and hashes stand in the script.",
            tag: "enrolment", access: .open, response: .binary("A Debian package."),
            failures: [(404, "There is no such package here."), (429, "Too many packages are being sent.")]
        ) { core, request in
            let body = try core.offer.body(of: request.parameters["package"] ?? "")
            guard let place = core.downloads.enter() else { throw HTTPServer.tooMany(10) }
            return ServerAnswer(contentType: "application/octet-stream", file: body, place: place)
        },
    ]
}

extension ServerCore {
    /// Notes which script is served, so that lines printed beside this process name its hash.
    func noteScript() throws {
        let noted = offer.script.hasPackages ? Array(offer.script.hash.utf8) : []
        if try catalog.setting(InstallScript.setting) ?? [] != noted { try catalog.set(InstallScript.setting, noted) }
    }

    /// The line that installs and enrols, with the code of an enrolment; `nil` when the server offers no packages.
    package static func installLine(
        _ code: EnrolmentCode, address: ServerAddress, catalog: any ServerCatalog
    ) throws -> String? {
        guard let noted = try catalog.setting(InstallScript.setting), !noted.isEmpty else { return nil }
        return InstallScript.line(
            hash: String(decoding: noted, as: UTF8.self), code: code, address: address)
    }
}
