import Catalog
package import Client
import Crypto
import Foundation
package import Model
import Platform
import SwiftASN1
import Synchronization
import Vault
import X509

/// What the console shows and changes of the server itself.
extension ServerCore {
    /// The certificate that is shown.
    package struct CertificateFacts: Sendable {
        package var names: [String]
        package var begins: Timestamp
        package var ends: Timestamp
        /// SHA-256 of it, in hexadecimal digits.
        package var fingerprint: String
        /// The server made it itself, and makes it anew before its end.
        package var isOwn: Bool
    }

    /// `nil` while nobody has told the server which one it shows.
    package func certificateFacts() -> CertificateFacts? {
        guard let pem = shownCertificate.withLock({ $0 }), let certificate = try? Certificate(pemEncoded: pem) else {
            return nil
        }
        var names: [String] = []
        if let alternatives = try? certificate.extensions.subjectAlternativeNames {
            for name in alternatives {
                switch name {
                case .dnsName(let text): names.append(text)
                case .ipAddress(let bytes): names.append(Self.address(Array(bytes.bytes)))
                default: break
                }
            }
        }
        var serializer = DER.Serializer()
        guard (try? serializer.serialize(certificate)) != nil else { return nil }
        func time(_ date: Date) -> Timestamp { Timestamp(seconds: Int64(date.timeIntervalSince1970)) }
        return CertificateFacts(
            names: names, begins: time(certificate.notValidBefore), ends: time(certificate.notValidAfter),
            fingerprint: SHA256.hash(data: serializer.serializedBytes).map { Hex.encode([$0]) }.joined(separator: ":"),
            isOwn: isCertificateOwn)
    }

    private static func address(_ bytes: [UInt8]) -> String {
        if bytes.count == 4 { return bytes.map { "\($0)" }.joined(separator: ".") }
        guard bytes.count == 16 else { return Hex.encode(bytes) }
        var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
        let isText = bytes.withUnsafeBytes {
            inet_ntop(AF_INET6, $0.baseAddress, &text, socklen_t(INET6_ADDRSTRLEN)) != nil
        }
        return isText
            ? String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self) : Hex.encode(bytes)
    }

    /// Whether everything that makes this server itself lies in the vault.
    package struct OwnSafety: Sendable {
        /// This server puts it there at all.
        package var isOn: Bool
        /// Nothing has changed since.
        package var isComplete: Bool
        /// Why it could not be put there the last time.
        package var failure: String?
    }

    package func ownSafety() -> OwnSafety {
        let revision = try? catalog.revision()
        return OwnSafety(
            isOn: protect != nil, isComplete: revision.map { $0.number == $0.safe } ?? false,
            failure: protectionFailure.withLock { $0 })
    }

    /// When somebody typed the key sheet back; `false` for never.
    package func isSheetChecked() throws -> Bool { try catalog.setting(Self.sheetSetting) != nil }

    /// The packages that machines are given, and why others are not.
    package var packagesOnOffer: (packages: [PackageOffer.Package], problems: [String]) {
        (offer.packages, offer.problems)
    }

    /// How the server is: names, whether each is well, and why not.
    package func healthReasons() -> [(name: String, isWell: Bool, reason: String)] {
        health().checks.map { ($0.name, $0.status == .ok, $0.reason) }
    }

    /// Keeps settings of alerts that came over the network and takes them up at once. Throws `usage`.
    package func change(_ settings: AlertSettings) throws {
        try settings.checkFromOutside()
        try settings.save(catalog)
        refreshAlertSettings()
    }

    /// Sends a message on every way on which alerts go out, and tells what came of each.
    package func testAlertWays() -> [AlertTrial] {
        refreshAlertSettings()
        return dispatcher.test()
    }

    /// Messages that wait, and why the newest was not delivered.
    package func alertMail() -> (waiting: Int, failure: String?) {
        ((try? catalog.messageCount()) ?? 0, dispatcher.failure)
    }
}
