-- With one e-mail address and telephone number of the lists that a company has: the first of the type that is meant.
with emails as (
    select
        account,
        company_id,
        (array_agg(email order by position) filter (where type = 'primary'))[1] as email,
        (array_agg(email order by position) filter (where type = 'invoicing'))[1] as invoicing_email
    from {{ source('teamleader', 'company_emails') }}
    group by account, company_id
),

telephones as (
    select distinct on (account, company_id) account, company_id, number as telephone
    from {{ source('teamleader', 'company_telephones') }}
    where type = 'phone'
    order by account, company_id, position
)

select
    companies.*,
    emails.email,
    emails.invoicing_email,
    telephones.telephone
from {{ source('teamleader', 'companies') }} as companies
left join emails on emails.account = companies.account and emails.company_id = companies.id
left join telephones on telephones.account = companies.account and telephones.company_id = companies.id
