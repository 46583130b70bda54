import Server

@testable import Console

/// Where an answer leads.
enum ServerAnswerLocation {
    static func of(_ answer: ServerAnswer) -> String? { answer.headers.first { $0.0 == "Location" }?.1 }
}
