//! What records are called: those that others choose from have names of their own, those of which there are many are
//! about something, for somebody.

use super::dice::Dice;
use super::names::{SUBJECTS, company_name};

/// What the records of a resource are called.
#[derive(Clone, Copy, Debug)]
pub(super) enum Titles {
    /// Each by one of these, in this order.
    Own(&'static [&'static str]),
    /// By what they are about, and for whom.
    Matters,
}

/// Resources whose records have names of their own, and these. Those of levelTwoAreas follow the countries, by turns.
#[rustfmt::skip]
const OWN: &[(&str, &[&str])] = &[
    ("activityTypes", &["Vergadering", "Plaatsbezoek", "Demo", "Opleiding", "Telefoongesprek", "Lunch"]),
    ("businessTypes", &["BV", "NV", "VZW", "CommV", "Eenmanszaak", "SRL", "SA", "ASBL", "Maatschap", "GmbH"]),
    ("callOutcomes", &["Bereikt", "Geen antwoord", "Voicemail", "Terugbellen", "Verkeerd nummer", "Afspraak gemaakt"]),
    ("dayOffTypes", &["Vakantie", "Ziekte", "Inhaalrust", "Feestdag", "Klein verlet", "Ouderschapsverlof"]),
    ("dealPhases", &[
        "Nieuw", "Gekwalificeerd", "Afspraak gepland", "Offerte verstuurd", "Onderhandeling", "Mondeling akkoord",
        "Gewonnen", "Verloren", "Geparkeerd",
    ]),
    ("dealPipelines", &["Verkoop", "Onderhoudscontracten", "Partners"]),
    ("dealSources", &[
        "Website", "Beurs", "Aanbeveling", "Telefoon", "LinkedIn", "Nieuwsbrief", "Partner", "Bestaande klant",
    ]),
    ("documentTemplates", &["Standaard", "Huisstijl 2025", "Modèle français", "English", "Zonder briefhoofd"]),
    ("levelTwoAreas", &[
        "Oost-Vlaanderen", "Noord-Brabant", "Nord", "Nordrhein-Westfalen", "Antwerpen", "Zuid-Holland", "Ardennes",
        "Niedersachsen", "Liège", "Utrecht", "Pas-de-Calais", "Rheinland-Pfalz", "Vlaams-Brabant", "Limburg", "Aisne",
        "Hessen",
    ]),
    ("lostReasons", &[
        "Te duur", "Geen budget", "Concurrent gekozen", "Geen reactie", "Uitgesteld", "Past niet", "Zelf gedaan",
    ]),
    ("mailTemplates", &["Offerte", "Factuur", "Herinnering", "Aanmaning", "Relance", "Bedankt", "Welkom"]),
    ("milestones", &["Analyse", "Ontwerp", "Uitvoering", "Testen", "Oplevering", "Nazorg"]),
    ("paymentMethods", &["Overschrijving", "Bancontact", "Domiciliëring", "Kredietkaart", "Kas", "Cheque"]),
    ("priceLists", &["Standaard", "Partners", "Onderwijs", "Particulieren", "2026"]),
    ("productCategories", &[
        "Diensten", "Licenties", "Hardware", "Hosting", "Opleidingen", "Verplaatsing", "Drukwerk", "Onderhoud",
    ]),
    ("products", super::names::PRODUCTS),
    ("projects-v2/materials", super::names::PRODUCTS),
    ("teams", &["Verkoop", "Ontwikkeling", "Support", "Administratie", "Ontwerp", "Directie"]),
    ("ticketStatus", &["Nieuw", "Open", "Wacht op klant", "Wacht op derden", "Opgelost", "Gesloten"]),
    ("unitsOfMeasure", &["uur", "dag", "stuk", "km", "m²", "kg", "maand", "licentie"]),
    ("workTypes", &["Analyse", "Ontwikkeling", "Ontwerp", "Overleg", "Support", "Verplaatsing", "Administratie"]),
];

impl Titles {
    /// What the records of this resource are called.
    pub(super) fn of(resource: &str) -> Self {
        OWN.iter().find(|(name, _)| *name == resource).map_or(Self::Matters, |(_, names)| Self::Own(names))
    }

    /// The title of the record with this number, after so many edits, each of which gives it another. `matter` goes to
    /// the next number with every edit; `dice` does not change.
    pub(super) fn write(self, ordinal: u64, edits: u32, matter: u64, dice: &mut Dice) -> String {
        match self {
            Self::Own(names) => {
                let place = ordinal + u64::from(edits);
                let (round, place) = (place / names.len() as u64, place % names.len() as u64);
                let name = names[place as usize];
                if round == 0 { name.to_owned() } else { format!("{name} {}", round + 1) }
            }
            Self::Matters => matter_for(matter, dice),
        }
    }
}

/// `Nieuwe webshop Bouwwerken Claes`: another one for the next number.
pub(super) fn matter_for(number: u64, dice: &mut Dice) -> String {
    format!("{} {}", SUBJECTS[(number % SUBJECTS.len() as u64) as usize], company_name(dice))
}
