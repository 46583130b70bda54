import Crypto
package import Foundation
import Model
import SwiftASN1
import X509

/// The certificate that a server makes for itself when it is given none. Agents do not believe the certificate but the
/// identity key that vouches for it, so it can be renewed at any time.
package enum SelfMadeCertificate {
    /// How long one holds, and how long before its end it is made anew.
    static let lifetime: TimeInterval = 397 * 86_400
    static let renewal: TimeInterval = 30 * 86_400

    /// A new certificate for `names` (host names or addresses), as PEM.
    package static func make(names: [String], now: Date = Date()) throws -> (chain: String, key: String) {
        let secret = P256.Signing.PrivateKey()
        let key = Certificate.PrivateKey(secret)
        let subject = try DistinguishedName { CommonName("Holdfast server \(names.first ?? "")") }
        let alternatives: [GeneralName] = names.map { name in
            if let bytes = address(name) { return .ipAddress(ASN1OctetString(contentBytes: bytes[...])) }
            return .dnsName(name)
        }
        let certificate = try Certificate(
            version: .v3, serialNumber: Certificate.SerialNumber(), publicKey: key.publicKey,
            notValidBefore: now.addingTimeInterval(-86_400), notValidAfter: now.addingTimeInterval(lifetime),
            issuer: subject, subject: subject, signatureAlgorithm: .ecdsaWithSHA256,
            extensions: try Certificate.Extensions {
                Critical(BasicConstraints.isCertificateAuthority(maxPathLength: nil))
                KeyUsage(digitalSignature: true, keyCertSign: true)
                try ExtendedKeyUsage([.serverAuth])
                SubjectAlternativeNames(alternatives)
            }, issuerPrivateKey: key)
        return (try certificate.serializeAsPEM().pemString, secret.pemRepresentation)
    }

    /// Whether a certificate is near its end, was made by a clock that was ahead, or cannot be read.
    package static func needsRenewal(_ pem: String, now: Date = Date()) -> Bool {
        guard let certificate = try? Certificate(pemEncoded: pem) else { return true }
        return certificate.notValidAfter < now.addingTimeInterval(renewal) || certificate.notValidBefore > now
    }

    /// When a certificate ends; `nil` when it cannot be read.
    static func end(_ pem: String) -> Timestamp? {
        (try? Certificate(pemEncoded: pem)).map { Timestamp(seconds: Int64($0.notValidAfter.timeIntervalSince1970)) }
    }

    /// The bytes of an IPv4 or IPv6 address; `nil` for a name.
    static func address(_ text: String) -> [UInt8]? {
        var four = in_addr()
        if inet_pton(AF_INET, text, &four) == 1 { return withUnsafeBytes(of: &four) { Array($0) } }
        var six = in6_addr()
        if inet_pton(AF_INET6, text, &six) == 1 { return withUnsafeBytes(of: &six) { Array($0) } }
        return nil
    }
}
