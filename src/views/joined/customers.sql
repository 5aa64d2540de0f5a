-- Companies and contacts in one.
select
    c.account, c.id, 'company' as kind, c.name, null as first_name, null as last_name, c.status, c.vat_number,
    c.national_identification_number, c.language, c.primary_address_line_1 as address_line_1,
    c.primary_address_postal_code as postal_code, c.primary_address_city as city,
    c.primary_address_country as country, c.iban, c.bic, c.payment_term_type, c.payment_term_days,
    c.preferred_currency, c.responsible_user_id, c.marketing_mails_consent, c.tags, c.website, c.web_url,
    c.added_at, c.updated_at, c._changed_at, c._detail_at
from teamleader_views.companies c
union all
select
    c.account, c.id, 'contact', nullif(concat_ws(' ', c.first_name, c.last_name), ''), c.first_name, c.last_name,
    c.status, c.vat_number, c.national_identification_number, c.language, c.primary_address_line_1,
    c.primary_address_postal_code, c.primary_address_city, c.primary_address_country, c.iban, c.bic,
    c.payment_term_type, c.payment_term_days, null, null, c.marketing_mails_consent, c.tags, c.website, c.web_url,
    c.added_at, c.updated_at, c._changed_at, c._detail_at
from teamleader_views.contacts c
